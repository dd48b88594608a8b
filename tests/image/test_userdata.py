"""The guest's user data: its shell part in a temporary root, its parser against PyYAML."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

SCRIPT = Path("tools/image/rootfs/usr/lib/guest/userdata").resolve()


class Root:
    def __init__(self, folder: Path, tool: Path) -> None:
        self.root = folder / "root"
        self._seed = folder / "seed"
        self._seed.mkdir()
        (self.root / "etc").mkdir(parents=True)
        self._env = {"PATH": f"{tool.parent}:{os.environ['PATH']}", "GUEST_ROOT": str(self.root)}

    def apply(self, user_data: str, instance: str = "i-1", meta: str = "") -> str:
        (self._seed / "meta-data").write_text(f"instance-id: {instance}\n{meta}")
        (self._seed / "user-data").write_text(user_data)
        command = ["sh", str(SCRIPT), str(self._seed)]
        return subprocess.run(
            command, env=self._env, capture_output=True, text=True, check=True, timeout=20
        ).stdout

    def read(self, path: str) -> str:
        return (self.root / path).read_text()


@pytest.fixture
def root(tmp_path: Path, guest_tool: Path) -> Root:
    return Root(tmp_path, guest_tool)


def test_script_runs_once_per_instance_id(root: Root) -> None:
    script = "#!/bin/sh\necho ran >>runs\n"
    assert "done i-1" in root.apply(script)
    assert root.apply(script) == ""
    root.apply(script, instance="i-2")
    assert root.read("runs") == "ran\nran\n"


def test_a_failing_script_is_said_and_not_repeated(root: Root) -> None:
    assert "script ended with 3" in root.apply("#!/bin/sh\nexit 3\n")
    assert root.apply("#!/bin/sh\nexit 3\n") == ""


def test_meta_data_names_the_host_unless_user_data_does(root: Root) -> None:
    root.apply("", meta="local-hostname: meta\n")
    assert root.read("etc/hostname") == "meta\n"
    root.apply("#cloud-config\nhostname: mine\n", instance="i-2", meta="local-hostname: meta\n")
    assert root.read("etc/hostname") == "mine\n"
    assert "127.0.1.1\tmine" in root.read("etc/hosts")


def test_json_meta_data(root: Root) -> None:
    (root.root.parent / "seed" / "x").touch()
    root.apply("#!/bin/sh\n", instance='i-9\n"local-hostname": "json"')
    assert root.read("var/lib/guest/instance-id") == "i-9\n"
    assert root.read("etc/hostname") == "json\n"


def test_write_files(root: Root) -> None:
    packed = base64.b64encode(b"\x00\xff binary").decode()
    root.apply(f"""\
#cloud-config
write_files:
- path: /a/b c
  content: |
    it's "quoted" $HOME `id`
      deeper

  permissions: '0600'
- {{path: /bin.dat, encoding: b64, content: {packed}}}
- path: /log
  content: one
- path: /log
  append: true
  content: "two\\n"
""")
    assert root.read("a/b c") == 'it\'s "quoted" $HOME `id`\n  deeper\n'
    assert (root.root / "a/b c").stat().st_mode & 0o777 == 0o600
    assert (root.root / "bin.dat").read_bytes() == b"\x00\xff binary"
    assert root.read("log") == "onetwo\n"


def test_runcmd_is_one_script_of_strings_and_lists(root: Root) -> None:
    root.apply("""\
#cloud-config
runcmd:
  - x="a b"
  - false
  - echo "$x" >out
  - [sh, -c, 'printf "%s\\n" "$0" "$1" >>out', "it's", "$x"]
  - - touch
    - two words
  - |
    for i in 1 2; do
      echo $i >>out
    done
""")
    assert root.read("out") == "a b\nit's\n$x\n1\n2\n"
    assert (root.root / "two words").exists()


def test_keys(root: Root) -> None:
    keys = "#cloud-config\nssh_authorized_keys: ['ssh-ed25519 A one', 'ssh-rsa B two']\n"
    root.apply(keys)
    assert root.read("root/.ssh/authorized_keys") == "ssh-ed25519 A one\nssh-rsa B two\n"
    assert (root.root / "root/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("user_data", "said"),
    [
        ("#cloud-config\npackages: [nginx]\nhostname: h\n", "ignored: packages"),
        ("#cloud-config\nruncmd: [\n", "line 2: a quote or bracket that is never closed"),
        ('#cloud-config\nhostname: "a\nb: c\n', "line 2: a quote or bracket that is never"),
        ('#cloud-config\nhostname: "\\q"\n', "line 2: an unknown escape"),
        ("#cloud-config\nhostname: &a h\n", "line 2: text that begins with & must be quoted"),
        ("#cloud-config\n\thostname: h\n", "line 2: a tab in the indentation"),
        ("#cloud-config\nhostname: a\nhostname: b\n", "line 3: the key hostname twice"),
        ("#cloud-config\nruncmd:\n- echo a: b\n", "neither text nor list"),
        ("#cloud-config\nwrite_files:\n- content: x\n", "no absolute path"),
        ("#cloud-config\n- a\n", "no mapping"),
        ("#cloud-config\nruncmd: " + "[" * 10000, "nested too deeply"),
        ("Content-Type: multipart/mixed\n", "begins neither with #! nor with #cloud-config"),
    ],
)
def test_what_is_not_understood_is_said(root: Root, user_data: str, said: str) -> None:
    assert said in root.apply(user_data)


def test_a_refused_config_has_no_half_effect(root: Root) -> None:
    root.apply("#cloud-config\nhostname: half\nruncmd: 3\nwrite_files: [{path: relative}]\n")
    assert not (root.root / "etc/hostname").exists()


def test_windows_line_ends(root: Root) -> None:
    root.apply("#cloud-config\r\nhostname: crlf\r\nruncmd:\r\n- touch done\r\n")
    assert root.read("etc/hostname") == "crlf\n"
    assert (root.root / "done").exists()


RECORD = r"""
show() { printf '%s\0' "$@" ''; }
for f in ignored set_hostname write_file add_key script_line; do
    eval "$f() { show $f \"\$@\"; }"
done
calls=$("$1" cloud-config "$2") && eval "$calls"
"""


def calls(tool: Path, document: str, folder: Path) -> list[list[str]]:
    """What a shell makes of the tool's output: each call as its name and arguments."""
    file = folder / "document"
    file.write_bytes(document.encode())
    command = ["sh", "-c", RECORD, "sh", tool, file]
    done = subprocess.run(command, capture_output=True, timeout=20)
    assert done.returncode == 0, (done.stderr.decode(), document)
    assert not done.stderr, done.stderr.decode()
    found = []
    words = done.stdout.decode().split("\0")[:-1]
    sizes = {"ignored": 1, "set_hostname": 1, "write_file": 6, "add_key": 1, "script_line": 1}
    while words:
        size = sizes[words[0]] + 1
        assert words[size] == "", "a call with too many words"
        found.append(words[:size])
        words = words[size + 1 :]
    return found


text = st.text(
    st.one_of(
        st.sampled_from(" \n:#-'\"\\|>[]{},&*!%@`?~\t$0"),
        st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]),
    ),
    max_size=60,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    names=st.lists(text, max_size=4),
    contents=st.lists(text, max_size=3),
    style=st.sampled_from([None, "'", '"', "|", ">"]),
    flow=st.booleans(),
    width=st.sampled_from([20, 80]),
    indent=st.sampled_from([2, 4]),
)
def test_reads_what_pyyaml_writes(
    guest_tool: Path,
    tmp_path: Path,
    names: list[str],
    contents: list[str],
    style: str | None,
    flow: bool,
    width: int,
    indent: int,
) -> None:
    files = [{"path": f"/{i}", "content": c} for i, c in enumerate(contents)]
    document = {"ssh_authorized_keys": names, "write_files": files, "hostname": "h"}
    written = yaml.safe_dump(
        document,
        default_style=style,
        default_flow_style=flow,
        width=width,
        indent=indent,
        allow_unicode=True,
    )
    assume(
        yaml.safe_load(written) == document
    )  # a folded text that begins with a space is written otherwise
    found = calls(guest_tool, "#cloud-config\n" + written, tmp_path)
    assert [c[1] for c in found if c[0] == "add_key"] == names
    assert [c[6] for c in found if c[0] == "write_file"] == contents


@pytest.mark.parametrize(
    "value",
    [
        "\n- a # no\n- b#yes\n-   c d  \n",
        "\n  - a\n\n  # between\n  - 'it''s'\n",
        " # comment\n- plain goes\n  on here\n- last\n",
        "\n- |\n   keep\n     this\n\n- >\n  fold\n  this\n\n  not that\n\n   more\n  less\n- |-\n  x\n- |+\n  y\n\n",
        "\n- |2\n    two more\n- >-\n    a\n    b\n",
        " [ a, 'b, c', \"d\\te\",\n  # inside\n  f g ]\n",
        "\n- http://a:80/b\n- -x\n- '- y'\n- a, b [c] {d}\n- ?q\n- :z\n",
        "\n- \"two\n\n  lines \\\n  joined\"\n- 'three\n\n\n  lines'\n",
        "\n-\n  down here\n- e: f\n",
    ],
)
def test_reads_hand_written_forms_as_pyyaml_does(
    guest_tool: Path, tmp_path: Path, value: str
) -> None:
    document = f"#cloud-config\n---\nssh_authorized_keys:{value}hostname: h\n"
    expected = yaml.safe_load(document)
    found = calls(guest_tool, document, tmp_path)
    keys = [key for key in expected["ssh_authorized_keys"] if isinstance(key, str)]
    assert [c[1] for c in found if c[0] == "add_key"] == keys
    assert ["set_hostname", expected["hostname"]] in found
