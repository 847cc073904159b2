"""Somebody's own optimizer: Adam with decoupled weight decay, a subclass in K operations."""

import numpy as np
from keras import backend as K
from keras.layers import Dense
from keras.legacy import interfaces
from keras.models import Sequential
from keras.optimizers import Optimizer

np.random.seed(103)
data = np.random.RandomState(107)


class AdamW(Optimizer):
    def __init__(self, lr=0.001, beta_1=0.9, beta_2=0.999, weight_decay=0.01, decay=0.0, **kwargs):
        super(AdamW, self).__init__(**kwargs)
        with K.name_scope(self.__class__.__name__):
            self.iterations = K.variable(0, dtype="int64", name="iterations")
            self.lr = K.variable(lr, name="lr")
            self.beta_1 = K.variable(beta_1, name="beta_1")
            self.beta_2 = K.variable(beta_2, name="beta_2")
            self.decay = K.variable(decay, name="decay")
            self.weight_decay = K.variable(weight_decay, name="weight_decay")
        self.initial_decay = decay

    @interfaces.legacy_get_updates_support
    def get_updates(self, loss, params):
        grads = self.get_gradients(loss, params)
        self.updates = [K.update_add(self.iterations, 1)]
        lr = self.lr
        if self.initial_decay > 0:
            lr = lr * (1.0 / (1.0 + self.decay * K.cast(self.iterations, K.dtype(self.decay))))
        t = K.cast(self.iterations, K.floatx()) + 1
        lr_t = lr * (K.sqrt(1.0 - K.pow(self.beta_2, t)) / (1.0 - K.pow(self.beta_1, t)))
        ms = [K.zeros(K.int_shape(p), dtype=K.dtype(p)) for p in params]
        vs = [K.zeros(K.int_shape(p), dtype=K.dtype(p)) for p in params]
        self.weights = [self.iterations] + ms + vs
        for p, g, m, v in zip(params, grads, ms, vs):
            m_t = (self.beta_1 * m) + (1.0 - self.beta_1) * g
            v_t = (self.beta_2 * v) + (1.0 - self.beta_2) * K.square(g)
            p_t = p - lr_t * m_t / (K.sqrt(v_t) + K.epsilon()) - lr * self.weight_decay * p
            self.updates.append(K.update(m, m_t))
            self.updates.append(K.update(v, v_t))
            new_p = p_t
            if getattr(p, "constraint", None) is not None:
                new_p = p.constraint(new_p)
            self.updates.append(K.update(p, new_p))
        return self.updates

    def get_config(self):
        config = {"lr": float(K.get_value(self.lr)), "beta_1": float(K.get_value(self.beta_1))}
        base_config = super(AdamW, self).get_config()
        return dict(list(base_config.items()) + list(config.items()))


model = Sequential()
model.add(Dense(12, activation="relu", input_dim=5, kernel_constraint="non_neg"))
model.add(Dense(3, activation="softmax"))
t = K.placeholder(shape=(None, 3))
loss = K.mean(K.categorical_crossentropy(t, model.output))
optimizer = AdamW(lr=0.01, clipnorm=0.3)
updates = optimizer.get_updates(model.trainable_weights, [], loss)
train = K.function([model.input, t], [loss], updates)
slopes = K.function([model.input, t], K.gradients(loss, model.trainable_weights))

rows = data.normal(size=(96, 5))
labels = np.eye(3)[np.argmax(rows[:, :3], axis=1)]
initial = model.get_weights()
gradient = slopes([rows[:32], labels[:32]])
losses = []
for step in range(60):
    part = slice(32 * (step % 3), 32 * (step % 3) + 32)
    losses.append(train([rows[part], labels[part]])[0])
final = model.get_weights()
