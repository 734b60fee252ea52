"""Where the sockets of a process and its children listen."""

import psutil


def listening(pid: int) -> set[str]:
    """The addresses, loopback's among them."""
    process = psutil.Process(pid)
    return {
        one.laddr.ip
        for each in (process, *process.children(recursive=True))
        for one in each.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }
