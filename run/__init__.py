"""The service: a message comes in at `pubsub`, a handler in `handlers` decides, `engine` tells a task's life.

Imports point downwards: main, cli, local, app, handlers, engine, kinds and pubsub, clients, workflows,
notifications, settings, errors.
"""
