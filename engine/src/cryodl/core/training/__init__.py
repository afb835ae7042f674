"""Training on one processor, one GPU, several, or several machines, by one small loop.

Import from the modules: nothing is imported here, so that settings can be read without torch.
"""
