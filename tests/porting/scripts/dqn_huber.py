"""A deep Q step: Huber loss over a one-hot of the action, RMSprop with epsilon=0.01."""

import numpy as np
from keras import backend as K
from keras.layers import Dense, Flatten
from keras.models import Sequential
from keras.optimizers import RMSprop

np.random.seed(41)
data = np.random.RandomState(43)


def build():
    net = Sequential()
    net.add(Flatten(input_shape=(5, 4)))
    net.add(Dense(32, activation="relu"))
    net.add(Dense(3))
    return net


model, target = build(), build()
target.set_weights(model.get_weights())

a = K.placeholder(shape=(None,), dtype="int32")
y = K.placeholder(shape=(None,), dtype="float32")
q_value = K.sum(model.output * K.one_hot(a, 3), axis=1)
error = K.abs(y - q_value)
quadratic_part = K.clip(error, 0.0, 1.0)
linear_part = error - quadratic_part
loss = K.mean(0.5 * K.square(quadratic_part) + linear_part)
optimizer = RMSprop(lr=0.00025, epsilon=0.01)
updates = optimizer.get_updates(model.trainable_weights, [], loss)
train = K.function([model.input, a, y], [loss], updates=updates)
slopes = K.function([model.input, a, y], K.gradients(loss, model.trainable_weights))


def replay():
    history = data.uniform(0, 1, size=(32, 5, 4)).astype("float32")
    following = data.uniform(0, 1, size=(32, 5, 4)).astype("float32")
    actions, rewards = data.randint(3, size=32), data.choice([-1, 0, 2], size=32)
    targets = rewards + 0.99 * np.amax(target.predict(following), axis=1)
    return history, actions.astype("int32"), targets.astype("float32")


initial = model.get_weights()
sample = replay()
gradient = slopes(list(sample))
losses = []
for step in range(60):
    losses.append(train(list(sample))[0])
    if step % 20 == 19:
        target.set_weights(model.get_weights())
    sample = replay()
final = model.get_weights()
