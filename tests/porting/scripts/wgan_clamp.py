"""A Wasserstein GAN: two RMSprops, the critic's weights clamped by a function of updates alone."""

import numpy as np
from keras import backend as K
from keras.layers import Activation, Dense, Input, LeakyReLU
from keras.models import Model, Sequential
from keras.optimizers import RMSprop

np.random.seed(73)
data = np.random.RandomState(79)

generator = Sequential()
generator.add(Dense(16, input_shape=(4,)))
generator.add(Activation("relu"))
generator.add(Dense(2))

point = Input(shape=(2,))
layer = Dense(16)(point)
layer = LeakyReLU(alpha=0.2)(layer)
layer = Dense(16)(layer)
layer = LeakyReLU(alpha=0.2)(layer)
critic = Model(point, Dense(1)(layer))

clamp_lower, clamp_upper = -0.3, 0.3
clamp = K.function(
    [], [], [K.update(v, K.clip(v, clamp_lower, clamp_upper)) for v in critic.trainable_weights]
)

real = K.placeholder(shape=(None, 2))
noise = K.placeholder(shape=(None, 4))
fake = generator(noise)
loss_real, loss_fake = K.mean(critic(real)), K.mean(critic(fake))
loss = loss_fake - loss_real
critic_updates = RMSprop(lr=5e-3, epsilon=1e-3, clipnorm=0.2).get_updates(
    critic.trainable_weights, [], loss
)
train_critic = K.function([real, noise], [loss_real, loss_fake], critic_updates)
generator_updates = RMSprop(lr=5e-3, epsilon=1e-3, clipnorm=0.2).get_updates(
    generator.trainable_weights, [], -loss_fake
)
train_generator = K.function([noise], [-loss_fake], generator_updates)
slopes = K.function([real, noise], K.gradients(loss, critic.trainable_weights))


def sample():
    angle = data.uniform(0, 2 * np.pi, size=32)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.5
    return ring.astype("float32"), data.normal(size=(32, 4)).astype("float32")


initial = generator.get_weights() + critic.get_weights()
batch = sample()
gradient = slopes(list(batch))
losses = []
for _ in range(20):
    for _ in range(2):
        clamp([])
        losses.append(np.subtract(*train_critic(list(batch))))
        batch = sample()
    losses.append(train_generator([batch[1]])[0])
final = generator.get_weights() + critic.get_weights()
