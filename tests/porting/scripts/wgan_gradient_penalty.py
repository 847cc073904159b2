"""A critic with a gradient penalty: K.gradients inside a loss that is differentiated again."""

import numpy as np
from keras import backend as K
from keras.layers import Dense, Input
from keras.models import Model
from keras.optimizers import RMSprop

np.random.seed(83)
data = np.random.RandomState(89)

point = Input(shape=(3,))
layer = Dense(24, activation="tanh")(point)
layer = Dense(12, activation="sigmoid")(layer)
critic = Model(point, Dense(1)(layer))

real = K.placeholder(shape=(None, 3))
fake = K.placeholder(shape=(None, 3))
share = K.placeholder(shape=(None, 1))
mixed = share * real + (1 - share) * fake
slope = K.gradients(K.sum(critic(mixed)), [mixed])[0]
length = K.sqrt(K.sum(K.square(slope), axis=1) + K.epsilon())
penalty = K.mean(K.square(length - 1))
loss = K.mean(critic(fake)) - K.mean(critic(real)) + 10 * penalty

optimizer = RMSprop(lr=0.002, rho=0.95, epsilon=0.01)
updates = optimizer.get_updates(loss, critic.trainable_weights)
train = K.function([real, fake, share], [loss, penalty], updates)
slopes = K.function([real, fake, share], K.gradients(penalty, critic.trainable_weights[:5]))


def sample():
    return [
        data.normal(1.0, 0.5, size=(24, 3)),
        data.normal(-1.0, 0.5, size=(24, 3)),
        data.uniform(size=(24, 1)),
    ]


initial = critic.get_weights()
batch = sample()
gradient = slopes(batch)
losses = []
for _ in range(60):
    losses.append(train(batch)[0])
    batch = sample()
final = critic.get_weights()
