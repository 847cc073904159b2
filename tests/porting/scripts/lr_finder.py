"""A learning-rate finder: fit with a callback that raises the rate after each batch."""

import numpy as np
from keras import backend as K
from keras.callbacks import Callback, LearningRateScheduler
from keras.layers import Dense
from keras.models import Sequential
from keras.optimizers import RMSprop

np.random.seed(109)
data = np.random.RandomState(113)
rows = data.normal(size=(160, 10)).astype("float32")
goals = np.tanh(rows[:, :1] * rows[:, 1:2] + rows[:, 2:3]).astype("float32")


class Finder(Callback):
    """Multiplies the learning rate after every batch and keeps the losses."""

    def __init__(self, factor):
        super(Finder, self).__init__()
        self.factor, self.losses, self.rates = factor, [], []

    def on_batch_end(self, batch, logs=None):
        rate = float(K.get_value(self.model.optimizer.lr))
        self.rates.append(rate)
        self.losses.append(logs["loss"])
        K.set_value(self.model.optimizer.lr, rate * self.factor)


model = Sequential()
model.add(Dense(16, activation="relu", input_dim=10))
model.add(Dense(1))
model.compile(loss="mean_squared_error", optimizer=RMSprop(lr=0.0003, epsilon=0.01))
t = K.placeholder(shape=(None, 1))
error = K.mean(K.square(model.output - t))
slopes = K.function([model.input, t], K.gradients(error, model.trainable_weights))

initial = model.get_weights()
gradient = slopes([rows[:32], goals[:32]])
finder = Finder(1.05)
model.fit(rows, goals, batch_size=32, epochs=6, verbose=0, callbacks=[finder])
schedule = LearningRateScheduler(lambda epoch: 0.002 / (1 + epoch))
second = Finder(1.0)
history = model.fit(rows, goals, batch_size=32, epochs=6, verbose=0, callbacks=[schedule, second])
losses = finder.losses + second.losses
final = model.get_weights()
print("last epoch", history.history["loss"][-1], "rate", second.rates[-1])
