"""A classifier in the words of Keras 1: output_dim, init, nb_epoch, Model(input=, output=)."""

import numpy as np
from keras import backend as K
from keras.callbacks import Callback
from keras.constraints import maxnorm
from keras.layers import Activation, Dense, Dropout, Input, Reshape
from keras.models import Model
from keras.optimizers import RMSprop
from keras.utils import np_utils

np.random.seed(127)
data = np.random.RandomState(131)
labels = data.randint(3, size=120)
rows = (np.eye(3)[labels].repeat(4, axis=1) + data.normal(size=(120, 12)) / 2).reshape(120, 3, 4)
goals = np_utils.to_categorical(labels, 3)


class Losses(Callback):
    def on_train_begin(self, logs={}):
        self.losses = []

    def on_batch_end(self, batch, logs={}):
        self.losses.append(logs.get("loss"))


source = Input(shape=(3, 4))
net = Reshape((12,))(source)
net = Dense(output_dim=20, init="he_uniform", W_constraint=maxnorm(1.5), b_constraint=maxnorm(1))(
    net
)
net = Activation("tanh")(net)
net = Dropout(p=0.25)(net)
net = Dense(3, init="lecun_uniform", activation="softmax", bias=True)(net)
model = Model(input=source, output=net)
model.compile(
    optimizer=RMSprop(lr=0.01, decay=0.01, clipnorm=0.5),
    loss="categorical_crossentropy",
    metrics=["accuracy"],
)

t = K.placeholder(shape=(None, 3))
loss = K.mean(K.categorical_crossentropy(model.output, t))
slopes = K.function(
    [model.input, t, K.learning_phase()], K.gradients(loss, model.trainable_weights)
)
initial = model.get_weights()
gradient = slopes([rows[:30], goals[:30], 0])
keeper = Losses()
model.fit(rows, goals, batch_size=30, nb_epoch=12, verbose=0, callbacks=[keeper])
losses = keeper.losses
losses.append(model.train_on_batch(rows[:30], goals[:30])[0])
losses.append(model.evaluate(rows, goals, batch_size=120, verbose=0)[0])
while len(losses) < 60:
    losses.append(model.train_on_batch(rows[30:90], goals[30:90])[0])
final = model.get_weights()
