"""A restricted Boltzmann machine: contrastive divergence by differentiating the free energy."""

import numpy as np
from keras import backend as K
from keras.optimizers import RMSprop

np.random.seed(23)
data = np.random.RandomState(3)
patterns = data.randint(2, size=(6, 16))
noisy = patterns[data.randint(6, size=200)]
visible = np.where(data.uniform(size=noisy.shape) < 0.05, 1 - noisy, noisy).astype("float32")

W = K.random_normal_variable((16, 10), 0.0, 0.1)
hidden_bias = K.zeros((10,))
visible_bias = K.zeros((16,))
params = [W, hidden_bias, visible_bias]


def sample_hidden(v):
    p = K.sigmoid(K.dot(v, W) + hidden_bias)
    return K.random_binomial(shape=K.shape(p), p=p)


def mean_visible(h):
    return K.sigmoid(K.dot(h, K.transpose(W)) + visible_bias)


def free_energy(v):
    inside = K.dot(v, W) + hidden_bias
    return -K.sum(v * visible_bias, axis=1) - K.sum(K.log(1.0 + K.exp(inside)), axis=1)


v = K.placeholder(ndim=2)
chain = v
for _ in range(2):
    probability = mean_visible(sample_hidden(chain))
    chain = K.random_binomial(shape=K.shape(probability), p=probability)
chain = K.stop_gradient(chain)
loss = K.mean(free_energy(v)) - K.mean(free_energy(chain))
rebuilt = K.clip(mean_visible(K.sigmoid(K.dot(v, W) + hidden_bias)), K.epsilon(), 1 - K.epsilon())
cross_entropy = K.mean(K.sum(K.binary_crossentropy(rebuilt, v), axis=1))

optimizer = RMSprop(lr=0.005)
updates = optimizer.get_updates(params, {}, loss)
learn = K.function(inputs=[v], outputs=[loss], updates=updates)
measure = K.function([v], [cross_entropy])
rise = K.function([v], K.gradients(K.mean(free_energy(v)), params))

initial = [K.get_value(p) for p in params]
gradient = rise([visible[:50]])
losses = []
for step in range(60):
    batch = visible[50 * (step % 4) : 50 * (step % 4) + 50]
    divergence = learn([batch])[0]
    losses.append(measure([batch])[0] + divergence)
final = [K.get_value(p) for p in params]
