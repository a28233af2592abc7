"""The recorder's script: that shells can read it, and the parts of it that need no kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lockscope.kvm.places import Places, class_name
from lockscope.recording.btf import Btf
from lockscope.recording.catalogue import Wanted
from lockscope.recording.script import shell_script
from lockscope.recording.session import started
from tests.builders.btf import BtfFile, kernel_and_module, kernel_and_module_of_7_3


def sh(text: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", text, "sh", *arguments], capture_output=True, text=True, check=False,
                          env=os.environ | env)  # fmt: skip


def functions(script: str) -> str:
    """The script without what it does: its functions."""
    return script[: script.index("\nwhile getopts")]


@pytest.mark.parametrize(
    "wanted", [Wanted(), Wanted((6, 12), lockdep=True), Wanted((6, 1), frozenset({"LS301"}), lockdep=False)]
)
def test_a_shell_reads_it(wanted: Wanted, tmp_path: Path) -> None:
    script = tmp_path / "probes.sh"
    script.write_text(shell_script(wanted, "1.2.3"))
    assert script.read_text().startswith("#!/bin/sh\n# Made by lockscope 1.2.3 for x86-64, ")
    assert "@" not in "".join(line for line in script.read_text().splitlines() if line.lstrip().startswith("@"))
    checked = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_it_refuses_in_one_line_where_it_may_not(tmp_path: Path) -> None:
    text = functions(shell_script(Wanted(), "1"))
    said = sh(f"{text}\nid() {{ echo 1000; }}\nlook")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == "lockscope: only root may record the kernel (hint: sudo sh sh ...)\n"


@pytest.mark.parametrize("split", [True, False])
def test_places_of_locks_without_python(split: bool, tmp_path: Path) -> None:
    """KVM as a module, and KVM's structures known to vmlinux alone."""
    vmlinux, module = kernel_and_module()
    base, kvm = tmp_path / "vmlinux", tmp_path / "kvm"
    base.write_bytes(vmlinux.bytes())
    kvm.write_bytes(module.bytes())
    text = functions(shell_script(Wanted(), "1")).replace("/sys/kernel/btf", str(tmp_path))
    if not split:
        alone = vmlinux
        alone.types, alone.texts = vmlinux.types + module.types, vmlinux.texts + module.texts
        base.write_bytes(alone.bytes())
        kvm.unlink()
    said = sh(f"{text}\nVERSION=6001\nlayout_from_btf")
    assert said.stderr == ""
    places = Places()
    assert all(places.read(line) for line in said.stdout.splitlines())
    btf = Btf(kvm, base) if split else Btf(base)
    known = {
        p.offset: class_name("kvm", p.path, p.inside, p.kind)
        for p in btf.locks("kvm")
        if p.inside[:3] == "kvm" and p.path != "gpc_lock"
    }
    assert places.kvm == known
    assert places.vcpu == {72: "&vcpu->mutex"}
    older = sh(f"{text}\nVERSION=5010\nlayout_from_btf").stdout
    assert "0=&kvm->mmu_lock" in older


def test_places_of_locks_on_7_3(tmp_path: Path) -> None:
    """Each structure once, though the module has them three times; and the same as lockscope itself reads."""
    vmlinux, module = kernel_and_module_of_7_3()
    base, kvm = tmp_path / "vmlinux", tmp_path / "kvm"
    base.write_bytes(vmlinux.bytes())
    kvm.write_bytes(module.bytes())
    text = functions(shell_script(Wanted(), "1")).replace("/sys/kernel/btf", str(tmp_path))
    places = Places()
    assert all(places.read(line) for line in sh(f"{text}\nVERSION=7003\nlayout_from_btf").stdout.splitlines())
    assert places.kvm == {
        0: "&(kvm)->mmu_lock", 8: "&kvm->slots_lock", 48: "&kvm->lock", 80: "&kvm->irqfds.lock",
        120: "&kvm->irqfds.resampler_lock", 208: "&kvm->arch.tsc_write_lock", 216: "&kvm->arch.apic_map_lock",
        300: "&hv->hv_lock", 400: "&kvm->arch.xen.xen_lock", 440: "&gpc->lock", 456: "&gpc->refresh_lock",
        800: "&kvm->srcu",
    }  # fmt: skip
    assert places.vcpu == {72: "&vcpu->mutex", 104: "&vcpu->pid_lock", 152: "&vcpu->async_pf.lock",
                           230: "&gpc->lock", 246: "&gpc->refresh_lock"}  # fmt: skip
    btf = Btf(kvm, base)
    for struct, found in (("kvm", places.kvm), ("kvm_vcpu", places.vcpu)):
        read = {
            p.offset: class_name(struct, p.path, p.inside, p.kind) for p in btf.locks(struct) if p.path[:5] != "other"
        }
        assert read == found


@pytest.mark.parametrize("where", ["kvm", "kvm_amd", "kvm_intel"])
def test_structures_from_several_files(where: str, tmp_path: Path) -> None:
    """What one module has not, another one or vmlinux has; what comes twice counts once."""
    first, module = kernel_and_module()
    base, few = BtfFile(), BtfFile()
    base.types, base.texts = first.types + module.types, first.texts + module.texts
    (tmp_path / "vmlinux").write_bytes(base.bytes())
    few.base = base
    few.struct("kvm", 100, ("slots_lock", 2, 24))
    (tmp_path / where).write_bytes(few.bytes())
    text = functions(shell_script(Wanted(), "1")).replace("/sys/kernel/btf", str(tmp_path))
    said = sh(f"{text}\nVERSION=6001\nlayout_from_btf").stdout
    assert said == "lockscope: struct kvm: 24=&kvm->slots_lock\nlockscope: struct kvm_vcpu: 72=&vcpu->mutex\n"


def own_state(tmp_path: Path, first: str = "run", second: str = "dev") -> str:
    """The script's functions with state in two folders of the test's own, and a shell that takes them for root's."""
    text = functions(shell_script(Wanted(), "1"))
    owner = os.getuid()
    text = text.replace("in /run /dev;", f"in {tmp_path / first} {tmp_path / second};")
    return text.replace('[ "${4:-}" = 0 ]', f'[ "${{4:-}}" = {owner} ]')


def test_state_is_roots_alone(tmp_path: Path) -> None:
    run, dev = tmp_path / "run", tmp_path / "dev"
    run.mkdir(mode=0o755)
    dev.mkdir(mode=0o755)
    text = own_state(tmp_path)
    where = f'{text}\nfind_state\nprintf %s "$STATE"'
    assert sh(where).stdout == f"{run}/lockscope-recording"
    run.chmod(0o1777)  # others may plant things there
    assert sh(where).stdout == f"{dev}/lockscope-recording"
    run.chmod(0o755)
    (dev / "lockscope-recording").mkdir(mode=0o700)  # left by one that could not write to the first
    assert sh(where).stdout == f"{dev}/lockscope-recording"
    dev.chmod(0o775)
    assert sh(where).stdout == f"{run}/lockscope-recording"
    run.chmod(0o757)
    said = sh(where)
    assert (said.returncode, said.stdout) == (2, "")
    assert "is a folder where root alone can write" in said.stderr


@pytest.mark.parametrize("how", ["writable", "link", "file", "others"])
def test_planted_state_is_not_believed(how: str, tmp_path: Path) -> None:
    run, state = tmp_path / "run", tmp_path / "run/lockscope-recording"
    run.mkdir(mode=0o755)
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    victim = subprocess.Popen(["sleep", "60"])
    (target / "recorder").write_text(f"{victim.pid} {started(victim.pid)}\n")
    text = own_state(tmp_path)
    if how == "link":
        state.symlink_to(target)
    elif how == "file":
        state.write_text("")
    else:
        target.rename(state)
        state.chmod(0o755 if how == "writable" else 0o700)
    if how == "others":
        text = text.replace("ls -ldn", "others")
        text += (
            f"\nothers() {{ case $1 in {run}) echo drwxr-xr-x 2 {os.getuid()} ;; *) echo drwx------ 2 65534 ;; esac; }}"
        )
    said = sh(f"{text}\nT={tmp_path} I={tmp_path}/none D=\nfind_state\nteardown")
    assert said.returncode == 2
    assert said.stderr.startswith(f"lockscope: {state} is not root's alone, and is not believed")
    assert victim.poll() is None
    victim.kill()
    victim.wait()


@pytest.mark.parametrize("same", [True, False])
def test_only_the_process_that_was_meant_is_killed(same: bool, tmp_path: Path) -> None:
    """A pid that was given to another process since: its start is another one."""
    run, state = tmp_path / "run", tmp_path / "run/lockscope-recording"
    run.mkdir(mode=0o755)
    state.mkdir(mode=0o700)
    # Whoever runs the tests in the background has them ignore interrupts, and their children with them.
    other = subprocess.Popen(["env", "--default-signal=INT", "sleep", "60"], start_new_session=True)
    (state / "recorder").write_text(f"{other.pid} {started(other.pid) - (not same)}\n")
    said = sh(f"{own_state(tmp_path)}\nT={tmp_path} I={tmp_path}/none D=\nfind_state\nteardown")
    assert (said.returncode, said.stderr) == (0, "")
    assert not state.exists()
    if same:
        assert other.wait(10) == -2  # an interrupt, which ends trace-cmd too
    else:
        assert other.poll() is None
        other.kill()
        other.wait()


def test_a_process_is_told_by_its_start(tmp_path: Path) -> None:
    text = own_state(tmp_path)
    odd = tmp_path / "a) S 1 (x"
    odd.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(odd), "60"])
    alive = f"{text}\nalive $1 $2; echo $?"
    assert sh(alive, str(process.pid), str(started(process.pid))).stdout == "0\n"
    assert sh(alive, str(process.pid), str(started(process.pid) + 1)).stdout == "1\n"
    assert sh(alive, str(process.pid), "").stdout == "1\n"
    assert sh(alive, "1x", "5").stdout == "1\n"
    said = sh(f"{text}\nSTATE={tmp_path}/none\nstop_child\nend TERM 7\nhelpers 7\necho on")
    assert (said.stdout, said.stderr) == ("on\n", "")
    at = started(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert sh(alive, str(process.pid), str(at)).stdout == "1\n"  # a zombie does nothing any more
    process.wait()


def probed(
    tmp_path: Path, version: int, kernels: str, clones: str, taken: str, fprobes: str = "yes", rest: str = ""
) -> tuple[str, str]:
    """The lines that were set, and the notes, on a kernel that takes lines that fit ``taken`` (a shell pattern)."""
    text = functions(shell_script(Wanted(), "1"))
    events, notes = tmp_path / "dynamic_events", tmp_path / "notes"
    events.write_text("")
    notes.write_text("")
    sh(
        f"{text}\nplace() {{ case $1 in {taken}) printf '%s\\n' \"$1\" >> $D ;; *) return 1 ;; esac; }}\n"
        f"D={events} STATE={tmp_path} VERSION={version} KERNELS={kernels} MMU=tdp FPROBES={fprobes} PROBES=0\n"
        f"CLONES='{clones}' PREEMPT=no-rt WITHOUT='' LOSING='' DETAILED=''\n{rest}\nall_probes"
    )
    return events.read_text(), notes.read_text()


def test_the_best_way_that_the_kernel_takes(tmp_path: Path) -> None:
    lines, notes = probed(tmp_path, 6012, "lockdep", "", "*")
    assert "t:lockscope/lockdep_acquire" in lines
    assert "f:lockscope/srcu_read_lock __srcu_read_lock%return" in lines
    assert "mutex_lock" not in lines
    assert notes == ""
    lines, _ = probed(tmp_path, 6001, "stock", "", "[pr]:*", "")
    assert "r:lockscope/srcu_read_lock __srcu_read_lock idx=$retval:s32;p:lockscope/srcu_read_lock_entry" in lines
    assert "kvm_flush_remote_tlbs_with_address" in lines
    assert "kvm_flush_remote_tlbs_range" not in lines


def test_what_cannot_be_probed_is_named(tmp_path: Path) -> None:
    clones = " gfn_to_memslot.isra.0  kvm_flush_remote_tlbs  kvm_flush_remote_tlbs.part.0  mutex_lock "
    _, notes = probed(tmp_path, 6001, "stock", clones, "*kvm_flush_remote_tlbs\\ *", "")
    assert "kvm_flush_remote_tlbs: calls of which the compiler inlined the beginning are not seen" in notes
    assert "gfn_to_memslot (the compiler left only a clone of gfn_to_memslot with other arguments): LS201 lose" in notes
    assert "mutex_lock (this kernel refuses to probe mutex_lock)" in notes
    assert "kvm_destroy_vm (kvm_destroy_vm is inlined, or not in this kernel)" in notes
    assert "mmu_spte_update" not in notes


def test_functions_of_preempt_rt(tmp_path: Path) -> None:
    lines, notes = probed(tmp_path, 7003, "stock", "", "*", rest="PREEMPT=rt")
    assert "r:lockscope/rt_write_lock rt_write_lock;p:lockscope/rt_write_lock_entry rt_write_lock lock=%di" in lines
    assert "raw_write" not in lines + notes
    assert "rt_spin" not in lines
    lines, _ = probed(tmp_path, 7003, "stock", "", "*", rest="PREEMPT=rt LOCKS=spinlock")
    assert "p:lockscope/rt_spin_unlock rt_spin_unlock" in lines
    assert "p:lockscope/raw_spin_unlock _raw_spin_unlock" in lines
    lines, _ = probed(tmp_path, 6012, "lockdep", "", "*", rest="PREEMPT=rt")
    assert "rt_" not in lines


def host_files(tmp_path: Path, *, events: tuple[str, ...], dynamic: bool = True) -> str:
    """The script's functions on a tracefs made of files."""
    (tmp_path / "run").mkdir(mode=0o755)
    for event in events:
        (tmp_path / "events" / event).mkdir(parents=True)
    (tmp_path / "instances/lockscope/options").mkdir(parents=True)
    (tmp_path / "instances/lockscope/options/hash-ptr").write_text("1")
    (tmp_path / "README").write_text("f[:[<group>/][<event>]] <func-name>[%return]\n")
    if dynamic:
        (tmp_path / "dynamic_events").write_text("")
    text = own_state(tmp_path)
    text = text.replace("for T in /sys/kernel/tracing /sys/kernel/debug/tracing", f"for T in {tmp_path}")
    return f'{text}\nid() {{ echo 0; }}\nuname() {{ case $1 in -r) echo 6.12.3 ;; *) echo "#1 SMP" ;; esac; }}\n'


def test_one_of_two_events_of_one_acquisition(tmp_path: Path) -> None:
    """lockdep_acquire says all that lock_acquire says: only one is recorded, where the kernel takes the probe."""
    names = ("lock/lock_acquire", "lock/lock_release", "lock/contention_begin", "sched/sched_switch")
    text = host_files(tmp_path, events=names)
    run = 'mkdir -m 700 "$STATE"; set_up 2>/dev/null; echo "$PROBES$EVENTS"'
    one = sh(f"{text}look\n{run}").stdout
    assert " lockscope lock:contention_begin lock:lock_release sched:sched_switch\n" in one
    shutil.rmtree(tmp_path / "run/lockscope-recording")
    refused = f"{text}look\nplace() {{ case $1 in t:*) return 1 ;; esac; }}\n{run}"
    assert " lock sched:sched_switch" in sh(refused).stdout
    shutil.rmtree(tmp_path / "run/lockscope-recording")
    hashed = f'{text}look\nTEXT=1\nrm "$I/options/hash-ptr"\n{run}'
    assert " lock sched:sched_switch" in sh(hashed).stdout


@pytest.mark.parametrize("file", ["none", "closed"])
def test_a_kernel_without_dynamic_events_is_recorded_without(file: str, tmp_path: Path) -> None:
    text = host_files(tmp_path, events=("lock/contention_begin", "sched/sched_switch"), dynamic=file == "closed")
    if file == "closed":  # root may write to what nobody may write to: but not to a directory
        text = text.replace('elif [ ! -w "$D" ]', "elif true")
    said = sh(f'{text}look\nrefuse() {{ :; }}\nmkdir -m 700 "$STATE"; set_up; echo "$PROBES$EVENTS"')
    assert said.stdout == "0 lock:contention_begin sched:sched_switch\n"
    why = "this kernel has no dynamic events (CONFIG_KPROBE_EVENTS)" if file == "none" else (
        f"{tmp_path}/dynamic_events cannot be written (see /sys/kernel/security/lockdown)"
    )  # fmt: skip
    lost = next(line for line in said.stderr.splitlines() if "no probes" in line)
    assert lost.startswith(f"lockscope: no probes: {why}: LS101 LS102 ")
    assert lost.endswith(" lose by it")
    assert "cannot be probed" not in said.stderr


@pytest.mark.parametrize(
    ("command", "kilobytes", "wanted"), [(0, 100, 4096), (1, 100, 16384), (0, 50_000, 50_000), (0, 1 << 20, 8192)]
)
def test_the_buffer_is_what_the_rehearsal_says(command: int, kilobytes: int, wanted: int, tmp_path: Path) -> None:
    """Eight seconds of the busiest CPU, at least some, and never more than an eighth of the free memory."""
    text = functions(shell_script(Wanted(), "1")).replace("/proc/meminfo", str(tmp_path / "meminfo"))
    text = text.replace("/proc/stat", str(tmp_path / "stat"))
    (tmp_path / "stat").write_text("cpu  9 9 9\ncpu0 9 9 9\ncpu1 9 9 9\n")
    (tmp_path / "meminfo").write_text(f"MemAvailable: {8 * 2 * (60_000 if kilobytes < 1 << 20 else 8192)} kB\n")
    rehearsed = f"rehearse() {{ echo cpu 0 bytes 3; echo cpu 1 bytes {128 * kilobytes}; }}\n"
    said = sh(f"cd {tmp_path}\n{text}\n{rehearsed}I={tmp_path}\nchoose_buffer {command}\necho $KB")
    assert said.stdout == f"{wanted}\n"
    assert said.stderr == f"lockscope: buffer {wanted} KB a CPU\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["meminfo", "stat", "trace"]


def test_kinds_of_locks_are_listed_or_refused(tmp_path: Path) -> None:
    script = tmp_path / "probes.sh"
    script.write_text(shell_script(Wanted(), "1.0"))
    done = subprocess.run(
        ["sh", str(script), "-l", "spinlock,futex", "-n"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "lockscope: -l futex: no such kind (hint: spinlock,rwsem)\n")
