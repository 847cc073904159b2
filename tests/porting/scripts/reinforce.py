"""REINFORCE: a small policy network trained on recorded episodes with discounted returns."""

import numpy as np
from keras import backend as K
from keras.layers import Dense
from keras.models import Sequential
from keras.optimizers import Adam

np.random.seed(2)
data = np.random.RandomState(29)

model = Sequential()
model.add(Dense(24, input_dim=15, activation="relu"))
model.add(Dense(24, activation="relu"))
model.add(Dense(5, activation="softmax"))

action = K.placeholder(shape=[None, 5])
discounted = K.placeholder(shape=[None])
chosen = K.sum(action * model.output, axis=1)
loss = -K.sum(K.log(chosen) * discounted)
optimizer = Adam(lr=0.002, clipnorm=5.0)
updates = optimizer.get_updates(model.trainable_weights, [], loss)
train = K.function([model.input, action, discounted], [loss], updates=updates)
slopes = K.function([model.input, action, discounted], K.gradients(loss, model.trainable_weights))


def episode():
    states = data.uniform(-1, 1, size=(20, 15))
    actions = np.eye(5)[np.argmax(states[:, :5], axis=1)]
    rewards = data.choice([-1.0, 0.0, 1.0], size=20)
    total, returns = 0.0, []
    for reward in rewards[::-1]:
        total = reward + 0.9 * total
        returns.insert(0, total)
    returns = np.asarray(returns)
    return states.tolist(), actions.tolist(), (returns - returns.mean()) / returns.std()


initial = model.get_weights()
first = episode()
gradient = slopes(list(first))
losses = [train(list(first))[0]]
while len(losses) < 60:
    losses.append(train(list(episode()))[0])
final = model.get_weights()
