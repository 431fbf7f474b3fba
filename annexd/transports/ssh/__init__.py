"""
An SSH server of our own, made of Twisted Conch: each command that a client
runs is a transport.  It knows keys and channels, and no command.
"""
