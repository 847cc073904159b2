"""Softmax regression without layers: placeholders, two variables, the Keras 1 order of get_updates."""

import numpy as np
from keras import backend as K
from keras.optimizers import RMSprop

np.random.seed(11)
data = np.random.RandomState(5)
centres = data.normal(size=(4, 12))
labels = data.randint(4, size=256)
images = (centres[labels] + data.normal(size=(256, 12))).astype("float32")
one_hot = np.eye(4, dtype="float32")[labels]

x = K.placeholder(shape=(None, 12), name="x")
t = K.placeholder(shape=(None, 4), name="t")
w = K.random_uniform_variable((12, 4), -0.2, 0.2, name="w")
b = K.variable(np.zeros(4), name="b")
params = [w, b]

y = K.softmax(K.dot(x, w) + b)
loss = K.mean(K.categorical_crossentropy(y, t))
accuracy = K.mean(K.equal(K.argmax(y), K.argmax(t)))

optimizer = RMSprop(lr=0.01, rho=0.9, epsilon=1e-3)
updates = optimizer.get_updates(params, [], loss)
train = K.function(inputs=[x, t], outputs=[loss, accuracy], updates=updates)
probe = K.function([x, t], K.gradients(loss, params))

initial = [K.get_value(p) for p in params]
gradient = probe([images[:32], one_hot[:32]])
losses = []
for step in range(60):
    rows = slice(32 * (step % 8), 32 * (step % 8) + 32)
    cost, right = train([images[rows], one_hot[rows]])
    losses.append(cost)
final = [K.get_value(p) for p in params]
print("accuracy of the last batch", right)
