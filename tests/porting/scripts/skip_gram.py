"""Word vectors: a skip-gram with a full softmax, gathered rows and RMSprop with clipnorm."""

import numpy as np
from keras import backend as K
from keras.optimizers import RMSprop

np.random.seed(137)
data = np.random.RandomState(139)
words, size = 30, 8

centre = K.placeholder(shape=(None,), dtype="int32")
context = K.placeholder(shape=(None,), dtype="int32")
vectors = K.random_uniform_variable((words, size), -0.5, 0.5)
outwards = K.random_uniform_variable((size, words), -0.5, 0.5)
scores = K.dot(K.gather(vectors, centre), outwards)
likelihood = K.sum(K.softmax(scores) * K.one_hot(context, words), axis=-1)
loss = -K.mean(K.log(likelihood))

optimizer = RMSprop(lr=0.02, rho=0.8, epsilon=0.01, clipnorm=0.1)
params = [vectors, outwards]
train = K.function([centre, context], [loss], optimizer.get_updates(params, [], loss))
slopes = K.function([centre, context], K.gradients(loss, outwards))


def pairs():
    first = data.randint(words, size=40)
    return first, (first + data.randint(1, 4, size=40)) % words


initial = [K.get_value(p) for p in params]
sentence = pairs()
gradient = slopes(list(sentence))
losses = []
for _ in range(60):
    losses.append(train(list(sentence))[0])
    sentence = pairs()
final = [K.get_value(p) for p in params]
