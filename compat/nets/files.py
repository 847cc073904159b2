"""`save_weights` and `load_weights`: the weights of a net in the HDF5 files of old Keras."""

from pathlib import Path
from typing import Any

import numpy as np

import fastrms
from fastrms.checkpoint.atomic import replacing
from fastrms.checkpoint.hdf5_names import put_entries, put_names
from fastrms.checkpoint.isolation import require_h5py
from fastrms.checkpoint.keras_entries import Entry


class Files:
    """The part of a net that meets files; the old Keras of its generation reads what it writes."""

    name: str
    layers: Any
    generation: Any

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Write all weights, layer by layer; needs h5py."""
        require_h5py()
        import h5py

        path = Path(filepath)
        if not overwrite and path.exists():
            raise FileExistsError(
                f"{path} exists and overwrite=False was given (Keras would ask at the terminal); "
                "give another name, or overwrite=True. Nothing was written."
            )
        with replacing(path) as file, h5py.File(file, "w") as h5:
            h5.attrs["backend"] = np.bytes_("tensorflow")
            h5.attrs["keras_version"] = np.bytes_(self.generation.version)
            put_names(h5.attrs, "layer_names", [layer.name for layer in self.layers])
            for layer in self.layers:
                entries = [Entry(f"{w.name}:0", w.get_value(), w.dtype) for w in layer.weights]
                put_entries(h5.create_group(layer.name), entries)

    def load_weights(self, filepath: Any, by_name: bool = False) -> None:
        """Take the weights of a file that a Keras wrote for the same net, all or none."""
        if by_name:
            raise ValueError(
                f"load_weights received by_name={by_name!r}; valid: False. To pick layers by name, "
                "take the arrays from fastrms.load(path).weights, a dictionary by weight name, and "
                "give them to layer.set_weights."
            )
        arrays = list(fastrms.load(filepath).weights.values())
        weights = [w for layer in self.layers for w in layer.weights]
        wanted = [tuple(w.get_value().shape) for w in weights]
        if [a.shape for a in arrays] != wanted:
            raise ValueError(
                f"{filepath} holds weights of the shapes {[a.shape for a in arrays]}; the net "
                f"{self.name!r} has {wanted}. Build the net that was saved. Nothing was changed."
            )
        for weight, array in zip(weights, arrays, strict=True):
            weight.set_value(array)
