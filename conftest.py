"""Modules that import what is not installed are not looked into for examples."""

from importlib.util import find_spec

collect_ignore = []
if find_spec("triton") is None:
    push = "src/nearfar/loss/push"
    collect_ignore = [f"{push}/{name}.py" for name in ("_kernels", "_add", "_triton")]
if find_spec("flwr") is None:
    collect_ignore += [
        f"src/nearfar/federate/{name}.py" for name in ("_flower", "_engines", "apps")
    ]
