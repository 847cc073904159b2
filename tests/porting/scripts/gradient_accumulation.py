"""A wrapper that updates every few batches: it replaces get_gradients and the learning rate."""

import numpy as np
from keras import backend as K
from keras.layers import Dense
from keras.models import Sequential
from keras.optimizers import RMSprop

np.random.seed(97)
data = np.random.RandomState(101)


class Accumulated:
    """Lets an optimizer act on the mean gradient of `every` batches."""

    def __init__(self, optimizer, every):
        self.optimizer, self.every = optimizer, every
        self.original = optimizer.get_gradients

    def get_updates(self, loss, params):
        count = K.variable(0, dtype="int64", name="count")
        flag = K.equal(count % self.every, self.every - 1)
        factor = K.cast(flag, "float32")
        fresh = self.original(loss, params)
        sums = [K.zeros(K.int_shape(p)) for p in params]
        means = [(s + g) / float(self.every) for s, g in zip(sums, fresh)]
        updates = [K.update_add(count, 1)]
        updates += [K.update(s, (1 - factor) * (s + g)) for s, g in zip(sums, fresh)]

        self.optimizer.get_gradients = lambda loss, params: [m * factor for m in means]
        rate = self.optimizer.lr
        self.optimizer.lr = K.switch(flag, rate, K.variable(0.0))
        for update in self.optimizer.get_updates(loss, params)[1:]:
            updates.append(update)
        self.optimizer.lr = rate
        del self.optimizer.get_gradients
        return updates


model = Sequential()
model.add(Dense(20, activation="tanh", input_shape=(6,)))
model.add(Dense(1))
t = K.placeholder(shape=(None, 1))
loss = K.mean(K.square(model.output - t))
wrapped = Accumulated(RMSprop(lr=0.01, epsilon=0.001), every=4)
train = K.function([model.input, t], [loss], wrapped.get_updates(loss, model.trainable_weights))
slopes = K.function([model.input, t], K.gradients(loss, model.trainable_weights))

rows = data.uniform(-1, 1, size=(64, 6))
goals = np.prod(rows[:, :2], axis=1, keepdims=True) + rows[:, 2:3]
initial = model.get_weights()
gradient = slopes([rows[:16], goals[:16]])
losses = []
for step in range(60):
    part = slice(16 * (step % 4), 16 * (step % 4) + 16)
    losses.append(train([rows[part], goals[part]])[0])
final = model.get_weights()
