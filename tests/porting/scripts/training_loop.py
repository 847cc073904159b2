"""A training loop of one's own in Keras 2.3: learning_rate, decay, a test function, saved weights."""

import numpy as np
from keras import backend as K
from keras.layers import Dense, Input
from keras.models import Model
from keras.optimizers import RMSprop

np.random.seed(149)
data = np.random.RandomState(151)

source = Input(shape=(7,))
hidden = Dense(18, activation="sigmoid", kernel_initializer="glorot_uniform")(source)
hidden = Dense(9, activation="tanh", kernel_initializer="random_uniform")(hidden)
model = Model(inputs=source, outputs=Dense(2, kernel_initializer="he_uniform")(hidden))
t = Input(shape=(2,))
loss = K.sum(K.pow(model.output - t, 2)) / 16.0
optimizer = RMSprop(learning_rate=0.004, decay=0.02, clipvalue=0.3)
updates = optimizer.get_updates(params=model.trainable_weights, loss=loss)
train = K.function(inputs=[model.input, t], outputs=[loss], updates=updates)
test = K.function([model.input, t], [loss])
slopes = K.function([model.input, t], K.gradients(loss, model.trainable_weights))

rows = data.uniform(-1, 1, size=(64, 7))
goals = np.stack([rows[:, 0] * rows[:, 1], rows[:, 2]], axis=1)
initial = model.get_weights()
gradient = slopes([rows[:16], goals[:16]])
losses = []
for step in range(60):
    part = slice(16 * (step % 4), 16 * (step % 4) + 16)
    losses.append(train([rows[part], goals[part]])[0])
    if step == 40:
        kept = optimizer.get_weights()
        optimizer.set_weights(kept)
final = model.get_weights()
print("whole set", test([rows, goals])[0])
