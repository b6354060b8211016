"""Experiments: one YAML file each, with everything a published number depends on."""

if __name__ == "configs":
    raise ImportError("import lsnn_gym.configs, not configs: two imports of one folder make two copies")
