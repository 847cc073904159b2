"""A two-layer perceptron without layers: momentum-free RMSprop with decay and clipnorm."""

import numpy as np
from keras import backend as K
from keras import optimizers

np.random.seed(1)
data = np.random.RandomState(17)
inputs = data.uniform(-1, 1, size=(128, 6)).astype("float32")
targets = np.sin(inputs.sum(axis=1, keepdims=True) * 2).astype("float32")

x = K.placeholder(ndim=2)
t = K.placeholder(ndim=2)
w1 = K.random_normal_variable((6, 16), 0.0, 0.4)
b1 = K.zeros((16,))
w2 = K.random_normal_variable((16, 1), 0.0, 0.4)
b2 = K.zeros((1,))
params = [w1, b1, w2, b2]

hidden = K.tanh(K.dot(x, w1) + b1)
output = K.dot(hidden, w2) + b2
loss = K.mean(K.square(output - t), axis=None)

opt = optimizers.RMSprop(lr=0.02, decay=0.05, clipnorm=0.5, epsilon=0.01)
train = K.function([x, t], [loss], updates=opt.get_updates(params, {}, loss))
slopes = K.function([x, t], K.gradients(loss, params))

initial = K.batch_get_value(params)
gradient = slopes([inputs[:64], targets[:64]])
losses = []
for step in range(60):
    half = slice(0, 64) if step % 2 == 0 else slice(64, 128)
    losses.append(train([inputs[half], targets[half]])[0])
final = K.batch_get_value(params)
