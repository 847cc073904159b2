"""Finds a small mask and pattern; the optimizer is reset in mid-run through its weights."""

import numpy as np
from keras import backend as K
from keras.optimizers import RMSprop

np.random.seed(67)
data = np.random.RandomState(71)
weights = K.constant(data.normal(size=(48, 3)) / 4)
pictures = data.uniform(0, 1, size=(64, 4, 4, 3)).astype("float32")
goal = np.repeat(np.eye(3, dtype="float32")[1:2], 16, axis=0)

mask_raw = K.variable(data.normal(size=(4, 4, 1)))
pattern_raw = K.variable(data.normal(size=(4, 4, 3)))
mask = K.tanh(mask_raw) / (2 - K.epsilon()) + 0.5
mask = K.repeat_elements(mask, rep=3, axis=2)
upsampled = K.expand_dims(mask, axis=0)
pattern = K.expand_dims((K.tanh(pattern_raw) / (2 - K.epsilon()) + 0.5) * 1.0, axis=0)

shown = K.placeholder(shape=(16, 4, 4, 3))
wanted = K.placeholder(shape=(16, 3))
reverse = K.ones_like(upsampled) - upsampled
stamped = reverse * shown + upsampled * pattern
output = K.softmax(K.dot(K.reshape(stamped, (16, 48)), weights))
cross_entropy = K.categorical_crossentropy(wanted, output)
cost = K.variable(0.001)
size = K.sum(K.abs(mask)) / 3
loss = K.mean(cross_entropy) + size * cost

optimizer = RMSprop(lr=0.1, epsilon=0.01)
params = [pattern_raw, mask_raw]
updates = optimizer.get_updates(params=params, loss=loss)
train = K.function([shown, wanted], [loss, size], updates=updates)
slopes = K.function([shown, wanted], K.gradients(loss, params))


def reset():
    K.set_value(optimizer.iterations, 0)
    for w in optimizer.weights:
        K.set_value(w, np.zeros(K.int_shape(w)))


initial = K.batch_get_value(params)
gradient = slopes([pictures[:16], goal])
losses = []
for step in range(60):
    if step == 30:
        reset()
        K.set_value(cost, 0.01)
    rows = slice(16 * (step % 4), 16 * (step % 4) + 16)
    losses.append(train([pictures[rows], goal])[0])
final = K.batch_get_value(params)
