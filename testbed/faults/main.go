// Stele-faults runs a program under ptrace and makes one system call of it fail, or kills it
// there.
//
// It looks at the calls that touch files below one directory, between two markers: the program says
// where they begin and end by asking for two files outside of that directory, which need not exist.
// A call is known by its name, the file, and how often the two have come together before, which
// stays the same from run to run even where threads overtake each other.
//
//	stele-faults -dir DIR -begin FILE -end FILE [-call "NAME FILE N" -fault FAULT] -- PROGRAM ARG...
//
// It says `call NAME FILE N` of every such call before it is made, and `hit NAME FILE N` of the one
// that goes wrong. This goes to standard error, which the program shares, so that the order of the
// lines is the order of what happened.
//
// It is not a sandbox, and knows x86-64 Linux only.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Not in package syscall: the program dies with its tracer.
const optionExitKill = 0x100000

// Marks stops at system calls apart from signals of the same number.
const syscallStop = syscall.SIGTRAP | 0x80

type faults struct {
	watch watch
	want  string
	fault string

	between bool
	seen    map[string]int
	threads map[int]*thread
	root    int
}

// A thread is either outside of a system call or in one that it has been stopped at.
type thread struct {
	in     bool
	atExit func(*syscall.PtraceRegs) (changed bool, err error)
}

func main() {
	var f faults
	flag.StringVar(&f.watch.dir, "dir", "", "directory whose files are looked at, absolute and free of links")
	flag.StringVar(&f.watch.begin, "begin", "", "file that marks the beginning")
	flag.StringVar(&f.watch.end, "end", "", "file that marks the end")
	flag.StringVar(&f.want, "call", "", "the call to be made to fail, as it was listed")
	flag.StringVar(&f.fault, "fault", "", "eio, enospc, eio-after, enospc-after, short, kill or kill-after")
	flag.Parse()
	f.seen = map[string]int{}
	f.threads = map[int]*thread{}
	status, err := f.run(flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "stele-faults:", err)
		os.Exit(2)
	}
	if status.Signaled() {
		os.Exit(128 + int(status.Signal()))
	}
	os.Exit(status.ExitStatus())
}

func (f *faults) run(args []string) (syscall.WaitStatus, error) {
	var status syscall.WaitStatus
	if len(args) == 0 || f.watch.dir == "" {
		return status, errors.New("-dir and a program are needed")
	}
	// The kernel takes ptrace requests from the thread alone that has started the program.
	runtime.LockOSThread()
	command := exec.Command(args[0], args[1:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := command.Start(); err != nil {
		return status, err
	}
	f.root = command.Process.Pid
	if _, err := syscall.Wait4(f.root, &status, 0, nil); err != nil {
		return status, err
	}
	options := syscall.PTRACE_O_TRACECLONE | syscall.PTRACE_O_TRACESYSGOOD | optionExitKill
	if err := syscall.PtraceSetOptions(f.root, options); err != nil {
		return status, err
	}
	f.threads[f.root] = &thread{}
	if err := syscall.PtraceSyscall(f.root, 0); err != nil {
		return status, err
	}
	for {
		tid, err := syscall.Wait4(-1, &status, syscall.WALL, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return status, err
		}
		if status.Exited() || status.Signaled() {
			delete(f.threads, tid)
			if tid == f.root {
				return status, nil
			}
			continue
		}
		if err := f.stopped(tid, status); err != nil && err != syscall.ESRCH {
			return status, err
		}
	}
}

// stopped deals with one stop of one thread and lets it go on.
func (f *faults) stopped(tid int, status syscall.WaitStatus) error {
	t, known := f.threads[tid]
	if !known {
		// A new thread stops once before its first instruction.
		f.threads[tid] = &thread{}
		return syscall.PtraceSyscall(tid, 0)
	}
	signal := status.StopSignal()
	switch {
	case signal == syscallStop:
		signal = 0
		if err := f.call(tid, t); err != nil {
			return err
		}
	case signal == syscall.SIGTRAP:
		signal = 0 // A clone or an exec.
	}
	return syscall.PtraceSyscall(tid, int(signal))
}

// call deals with the beginning or the end of a system call.
func (f *faults) call(tid int, t *thread) error {
	t.in = !t.in
	if t.in {
		var regs syscall.PtraceRegs
		if err := syscall.PtraceGetRegs(tid, &regs); err != nil {
			return err
		}
		return f.enter(tid, t, &regs)
	}
	if t.atExit == nil {
		return nil
	}
	atExit := t.atExit
	t.atExit = nil
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	changed, err := atExit(&regs)
	if err != nil || !changed {
		return err
	}
	return syscall.PtraceSetRegs(tid, &regs)
}

func (f *faults) enter(tid int, t *thread, regs *syscall.PtraceRegs) error {
	name, file, marker := f.watch.look(tid, regs)
	switch marker {
	case markerBegin:
		f.between = true
	case markerEnd:
		f.between = false
	}
	if !f.between || name == "" {
		return nil
	}
	key := name + " " + file
	f.seen[key]++
	key = fmt.Sprintf("%s %d", key, f.seen[key])
	if key != f.want {
		fmt.Fprintln(os.Stderr, "call", key)
		return nil
	}
	fmt.Fprintln(os.Stderr, "hit", key)
	return f.inject(tid, t, name, regs)
}
