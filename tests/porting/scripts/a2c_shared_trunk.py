"""Advantage actor-critic: two RMSprops with epsilon=0.1 over one shared trunk."""

import numpy as np
from keras import backend as K
from keras.layers import Dense, Flatten, Input
from keras.models import Model
from keras.optimizers import RMSprop

np.random.seed(31)
data = np.random.RandomState(37)

frames = Input(shape=(4, 3))
trunk = Flatten()(frames)
trunk = Dense(32, activation="relu")(trunk)
policy_layer = Dense(16, activation="relu")(trunk)
value_layer = Dense(16, activation="relu")(trunk)
actor = Model(frames, Dense(3, activation="softmax")(policy_layer))
critic = Model(frames, Dense(1, activation="linear")(value_layer))

action = K.placeholder(shape=(None, 3))
advantage = K.placeholder(shape=(None,))
weighted = K.sum(action * actor.output, axis=1)
eligibility = K.log(weighted + 1e-10) * K.stop_gradient(advantage)
entropy = K.sum(actor.output * K.log(actor.output + 1e-10), axis=1)
actor_loss = 0.001 * entropy - K.sum(eligibility)
actor_optimizer = RMSprop(lr=0.0005, epsilon=0.1, rho=0.99)
actor_updates = actor_optimizer.get_updates(actor.trainable_weights, [], K.sum(actor_loss))
train_actor = K.function([actor.input, action, advantage], [K.sum(actor_loss)], actor_updates)

reward = K.placeholder(shape=(None,))
critic_loss = K.mean(K.square(reward - critic.output[:, 0]))
critic_optimizer = RMSprop(lr=0.002, epsilon=0.1, rho=0.99)
critic_updates = critic_optimizer.get_updates(critic.trainable_weights, [], critic_loss)
train_critic = K.function([critic.input, reward], [critic_loss], critic_updates)
slopes = K.function([critic.input, reward], K.gradients(critic_loss, critic.trainable_weights))


def batch():
    states = data.uniform(-1, 1, size=(16, 4, 3)).astype("float32")
    actions = np.eye(3, dtype="float32")[data.randint(3, size=16)]
    return states, actions, states.sum(axis=(1, 2)) / 3


initial = actor.get_weights() + critic.get_weights()
states, actions, returns = batch()
gradient = slopes([states, returns])
losses = []
for _ in range(30):
    values = critic.predict(states)[:, 0]
    losses.append(train_actor([states, actions, returns - values])[0])
    losses.append(train_critic([states, returns])[0])
    states, actions, returns = batch()
final = actor.get_weights() + critic.get_weights()
