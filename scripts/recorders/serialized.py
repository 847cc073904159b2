"""Record how a real system writes optimizers as dictionaries, and what it makes of ours.

    python scripts/recorders/serialized.py forms FILE      (any Python with fastrms: our forms)
    python scripts/recorders/serialized.py SYSTEM FORMS FILE   (the system's Python)

SYSTEM is k3 (Keras 3; KERAS_BACKEND chooses the backend) or tf212 (tf.keras of TensorFlow 2.12).
"""

import json
import sys

COMMON = [
    {},
    {"learning_rate": 0.5, "rho": 0.8, "momentum": 0.25, "epsilon": 1e-4, "centered": True},
    {"learning_rate": 0.01, "weight_decay": 0.004, "clipnorm": 1.0, "name": "mine"},
    {"clipvalue": 0.5, "use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 5},
    {"global_clipnorm": 2.0},
    {
        "learning_rate": [
            "ExponentialDecay",
            {
                "initial_learning_rate": 0.5,
                "decay_steps": 10,
                "decay_rate": 0.25,
                "staircase": True,
            },
        ]
    },
    {
        "learning_rate": [
            "PiecewiseConstantDecay",
            {"boundaries": [5, 10], "values": [0.5, 0.25, 0.125]},
        ]
    },
    {
        "learning_rate": [
            "PolynomialDecay",
            {
                "initial_learning_rate": 0.5,
                "decay_steps": 10,
                "end_learning_rate": 0.25,
                "power": 2.0,
                "cycle": True,
            },
        ]
    },
    {
        "learning_rate": [
            "InverseTimeDecay",
            {"initial_learning_rate": 0.5, "decay_steps": 10, "decay_rate": 0.25},
        ]
    },
    {"learning_rate": ["CosineDecay", {"initial_learning_rate": 0.5, "decay_steps": 10}]},
    {
        "learning_rate": [
            "CosineDecayRestarts",
            {"initial_learning_rate": 0.5, "first_decay_steps": 10},
        ]
    },
]
CASES = {
    "k3": COMMON + [{"loss_scale_factor": 8.0, "gradient_accumulation_steps": 4}],
    "tf212": COMMON,
}
DIALECTS = {"k3": "keras-3", "tf212": "tf-keras-2.11"}


def built(module, schedules, kwargs, **more):
    """Build an optimizer from a case."""
    given = dict(kwargs, **more)
    if isinstance(given.get("learning_rate"), list):
        name, arguments = given["learning_rate"]
        given["learning_rate"] = getattr(schedules, name)(**arguments)
    return module.RMSprop(**given)


def plain(value):
    """Return Python's numbers for NumPy's, so that JSON can hold them."""
    return value.item() if hasattr(value, "item") else str(value)


def main(arguments):
    """Write one file."""
    if arguments[0] == "forms":
        import fastrms

        content = {
            system: [
                fastrms.serialize(built(fastrms, fastrms.schedules, case, dialect=DIALECTS[system]))
                for case in cases
            ]
            for system, cases in CASES.items()
        }
    else:
        system = arguments[0]
        with open(arguments[1]) as file:
            ours = json.load(file)[system]
        if system == "k3":
            import keras

            versions = {"keras": keras.__version__, "backend": keras.backend.backend()}
            module = keras.optimizers
        else:
            import tensorflow

            versions = {"tensorflow": tensorflow.__version__}
            module = tensorflow.keras.optimizers
        content = {
            "versions": versions,
            "written": [
                {"kwargs": case, "form": module.serialize(built(module, module.schedules, case))}
                for case in CASES[system]
            ],
            "read": [
                {
                    "form": json.loads(json.dumps(form)),
                    "config": module.deserialize(form).get_config(),
                }
                for form in ours
            ],
        }
    with open(arguments[-1], "w") as file:
        json.dump(content, file, indent=1, sort_keys=True, default=plain)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1:])
