"""Files of this machine on their way into the library of a deployment: found, sent, followed, and watched."""
