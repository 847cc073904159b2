"""The actor of DDPG: keyword get_updates, action gradients fed in, learning phase, no outputs."""

import numpy as np
from keras import backend as K
from keras import layers, models, optimizers

np.random.seed(47)
data = np.random.RandomState(53)
low, span = -2.0, 4.0

states = layers.Input(shape=(8,), name="states")
net = layers.Dense(32, activation="relu")(states)
net = layers.Dropout(0.2)(net)
net = layers.Dense(16, activation="relu")(net)
raw = layers.Dense(2, activation="sigmoid", name="raw_actions")(net)
actions = layers.Lambda(lambda x: (x * span) + low, name="actions")(raw)
model = models.Model(states, actions)

action_gradients = layers.Input(shape=(2,))
loss = K.mean(-action_gradients * actions)
optimizer = optimizers.RMSprop(lr=0.001, clipnorm=1.0)
updates_op = optimizer.get_updates(params=model.trainable_weights, loss=loss)
train_fn = K.function(
    inputs=[model.input, action_gradients, K.learning_phase()], outputs=[], updates=updates_op
)
measure = K.function([model.input, action_gradients, K.learning_phase()], [loss])
slopes = K.function(
    [model.input, action_gradients, K.learning_phase()],
    K.gradients(loss, model.trainable_weights),
)

inputs = data.uniform(-1, 1, size=(32, 8)).astype("float32")
pulls = np.stack([inputs[:, 0] - 0.5, inputs[:, 1]], axis=1)
initial = model.get_weights()
gradient = slopes([inputs, pulls, 0])
losses = []
for _ in range(60):
    train_fn([inputs, pulls, 1])
    losses.append(measure([inputs, pulls, 0])[0])
final = model.get_weights()
