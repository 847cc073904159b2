"""Optimises one image so that the Gram matrix of fixed random features meets a style."""

import numpy as np
from keras import backend as K
from keras.optimizers import RMSprop

np.random.seed(59)
data = np.random.RandomState(61)
filters = K.variable(data.normal(size=(3, 8)) / 2)
style = data.uniform(0, 1, size=(64, 3))
content = data.uniform(0, 1, size=(64, 3))


def features(x):
    return K.relu(K.dot(x, filters))


def gram_matrix(x):
    return K.dot(K.transpose(x), x) / 4.0


image = K.variable(data.uniform(0, 1, size=(64, 3)))
style_gram = K.variable(K.eval(gram_matrix(features(K.variable(style)))))
content_features = K.variable(K.eval(features(K.variable(content))))
style_loss = K.sum(K.square(gram_matrix(features(image)) - style_gram))
content_loss = K.mean(K.square(features(image) - content_features))
loss = style_loss + 0.1 * content_loss

optimizer = RMSprop(lr=0.01, epsilon=0.01, clipvalue=0.5)
updates = optimizer.get_updates([image], {}, loss)
iterate = K.function([], [loss, style_loss], updates)
slope = K.function([], K.gradients(loss, [image]))

initial = [K.get_value(image)]
gradient = slope([])
losses = [iterate([])[0] for _ in range(60)]
final = [K.get_value(image)]
