"""The configuration of a whole run that takes a second: two steps of a model that knows nothing, on lakes of 2x2."""

TINY = """
[env]
kwargs = {size = 2}
[model]
hidden_size = 16
layers = 1
heads = 2
copying = false
max_reply_tokens = 4
[warm_start]
enabled = false
success_low = 0.0
check_episodes = 2
[values]
instances = 4
samples = 2
extra_samples = 2
[learning]
steps = 2
batch_size = 8
[evaluation]
episodes = 4
"""
