#!/usr/bin/env python3
"""Several hosts on this machine, for what crosses a network: each has a network, a name and mounts of its own.

    bench/virtual_hosts.py --hosts 4 -- COMMAND WITH {mpirun}
    bench/virtual_hosts.py --hosts 4 --serve build/bench/llama-1b --rate 200e6 -- \\
        bench/load_time --checkpoint build/bench/llama-1b --np 4 --states cold --mpirun {mpirun}

Runs the command with {mpirun} replaced by what starts ranks on these hosts. With --serve, a file server holds that
folder: under the folder's own path the hosts see what it sends them (sshfs), all of it over one link. Messages between
hosts do not cross that link. Needs root, and for --serve the Debian packages sshfs, socat and openssh-sftp-server.
"""
import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

NETWORK = "10.211.87"
SUBNET = f"{NETWORK}.0/24"
SERVER_PORT = 7117
SFTP_SERVER = "/usr/lib/openssh/sftp-server"
# A program under it ends with this one, however that ends.
LEASH = ["setpriv", "--pdeathsig", "KILL"]

# Takes the place of ssh: ADDRESS COMMAND... As with ssh, nothing of the environment comes along.
AGENT = """#!/bin/sh
case $1 in
{cases}
esac
shift
exec nsenter --target $pid --mount --net --uts env --ignore-environment PATH="$PATH" sh -c "$*"
"""


class Unavailable(Exception):
    """Why there are no such hosts here."""


def checked(command):
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise Unavailable(str(error)) from error
    if result.returncode != 0:
        raise Unavailable(f"{shlex.join(command)}: {result.stderr.strip() or result.returncode}")


def end(child):
    """The leader of a session, and what it has started."""
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


class Host:
    """Lives as long as a process that holds its network, name and mounts."""

    def __init__(self, name, address):
        self.name, self.address = name, address
        hold = f"hostname {name} && echo up && exec cat"
        self.holder = subprocess.Popen(
            [*LEASH, "unshare", "--mount", "--net", "--uts", "sh", "-c", hold],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if self.holder.stdout.readline() != "up\n":
            raise Unavailable(self.holder.communicate()[1].strip())
        self.pid = self.holder.pid

    def command(self, *words):
        """What runs words there, in the folder of the same path."""
        spaces = ["--target", str(self.pid), "--mount", "--net", "--uts"]
        return ["nsenter", *spaces, f"--wdns={os.getcwd()}", *words]

    def do(self, *words):
        checked(self.command(*words))

    def end(self):
        self.holder.kill()
        self.holder.communicate()


class VirtualHosts:
    """Hosts from `with VirtualHosts(...) as hosts:` on, until its end.

    count             of hosts that ranks run on
    serve             folder that they see through a file server; None: as it is
    bytes_per_second  of the server's link; None: no limit
    """

    def __init__(self, count, serve=None, bytes_per_second=None):
        self.count, self.serve, self.bytes_per_second = count, serve and os.path.realpath(serve), bytes_per_second
        self.switch, self.hosts, self.children = None, [], []

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="virtual-hosts-")
        try:
            self.set_up()
        except BaseException as error:
            self.tear_down()
            if isinstance(error, OSError):
                raise Unavailable(str(error)) from error
            raise
        return self

    def __exit__(self, *_):
        self.tear_down()

    def mpirun(self, ranks_per_host, program="mpirun"):
        """The words that start a job on them; `-n N` and what to run may follow."""
        return self.on_first(program, "--host", self.places(ranks_per_host))

    def places(self, ranks_per_host):
        """As mpirun wants them: ADDRESS:RANKS,..."""
        return ",".join(f"{host.address}:{ranks_per_host}" for host in self.hosts)

    def on_first(self, *words):
        """What runs words on the first host, from where an mpirun among them finds the others."""
        settings = {"plm_rsh_agent": self.agent, "btl_tcp_if_include": SUBNET, "oob_tcp_if_include": SUBNET}
        variables = [f"OMPI_MCA_{name}={value}" for name, value in settings.items()]
        return self.hosts[0].command("env", *variables, *words)

    def set_up(self):
        self.switch = Host("switch", f"{NETWORK}.254")
        self.switch.do("ip", "link", "add", "bridge", "type", "bridge")
        self.bring_up(self.switch, "bridge")
        for number in range(1, self.count + 1):
            host = Host(f"host{number}", f"{NETWORK}.{number}")
            self.hosts.append(host)
            checked(["ip", "link", "add", "eth0", "netns", str(host.pid), "type", "veth",
                     "peer", "name", f"port{number}", "netns", str(self.switch.pid)])  # fmt: skip
            self.switch.do("ip", "link", "set", f"port{number}", "master", "bridge", "up")
            self.bring_up(host, "eth0")
        self.name_hosts()
        self.agent = os.path.join(self.folder, "agent")
        with open(self.agent, "w") as file:
            file.write(AGENT.format(cases="\n".join(f"{host.address}) pid={host.pid} ;;" for host in self.hosts)))
        os.chmod(self.agent, 0o755)
        if self.serve:
            self.start_server()
            for host in self.hosts:
                self.mount(host)

    @staticmethod
    def bring_up(host, device):
        host.do("ip", "address", "add", f"{host.address}/24", "dev", device)
        for name in ("lo", device):
            host.do("ip", "link", "set", name, "up")

    def name_hosts(self):
        """So that they find each other by name, as torch.distributed wants it."""
        names = os.path.join(self.folder, "hosts")
        with open(names, "w") as file:
            file.write("127.0.0.1 localhost\n" + "".join(f"{host.address} {host.name}\n" for host in self.hosts))
        for host in self.hosts:
            host.do("mount", "--bind", names, "/etc/hosts")

    def start_server(self):
        if self.bytes_per_second:
            rate = f"{8 * self.bytes_per_second:.0f}bit"
            self.switch.do("tc", "qdisc", "add", "dev", "bridge", "root",
                           "tbf", "rate", rate, "burst", "2mb", "latency", "50ms")  # fmt: skip
        self.start("nsenter", "--target", str(self.switch.pid), "--net",
                   "socat", f"TCP-LISTEN:{SERVER_PORT},fork,reuseaddr", f"EXEC:{SFTP_SERVER}")  # fmt: skip
        self.wait_for("the file server", self.switch.command("socat", "-u", "OPEN:/dev/null",
                                                             f"TCP:{self.switch.address}:{SERVER_PORT}"))  # fmt: skip

    def mount(self, host):
        """Files do not change, so what a host has cached stays when they are opened anew. Without the server the folder
        is empty."""
        host.do("mount", "--types", "tmpfs", "empty", self.serve)
        self.start(*host.command("sshfs", f"{self.switch.address}:{self.serve}", self.serve, "-f", "-o",
                                 f"directport={SERVER_PORT},ro,kernel_cache,max_conns=4"))  # fmt: skip
        self.wait_for(f"sshfs on {host.name}", host.command("findmnt", "--types", "fuse.sshfs", self.serve))

    def wait_for(self, what, check):
        """Until the check succeeds.

        what  was started last
        """
        for _ in range(50):
            if subprocess.run(check, capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise Unavailable(f"{what}: {self.last_words() or 'no answer'}")

    def start(self, *words):
        """A program that runs as long as the hosts."""
        with open(os.path.join(self.folder, "log"), "w") as log:
            child = subprocess.Popen([*LEASH, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                     start_new_session=True)  # fmt: skip
        self.children.append(child)

    def last_words(self):
        with open(os.path.join(self.folder, "log")) as log:
            return log.read().strip()

    def end_server(self):
        """As if it had crashed."""
        end(self.children.pop(0))

    def tear_down(self):
        for child in reversed(self.children):
            end(child)
        for host in filter(None, (*self.hosts, self.switch)):
            host.end()
        shutil.rmtree(self.folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--ranks-per-host", type=int, default=1)
    parser.add_argument("--serve", metavar="FOLDER", help="seen through a file server")
    parser.add_argument("--rate", type=float, metavar="BYTES", help="that the file server sends in a second at most")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    try:
        with VirtualHosts(args.hosts, args.serve, args.rate) as hosts:
            mpirun = shlex.join(hosts.mpirun(args.ranks_per_host))
            return subprocess.run([word.replace("{mpirun}", mpirun) for word in args.command]).returncode
    except Unavailable as reason:
        return f"virtual_hosts: {reason}"


if __name__ == "__main__":
    sys.exit(main())
