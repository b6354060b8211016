"""Recurrent actor-critics, spiking and not, and the trainer that turns them into meta-learners."""

if __name__ == "agents":
    raise ImportError(
        "import lsnn_gym.agents, not agents: two imports of one folder make two copies of every class"
    )
