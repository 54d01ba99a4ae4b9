package main

import (
	"encoding/binary"
	"fmt"
	"syscall"
)

// inject makes the call that the thread is stopped at the beginning of go wrong.
func (f *faults) inject(tid int, t *thread, name string, regs *syscall.PtraceRegs) error {
	switch f.fault {
	case "eio":
		return f.instead(tid, t, regs, name, syscall.EIO)
	case "enospc":
		return f.instead(tid, t, regs, name, syscall.ENOSPC)
	case "eio-after":
		t.atExit = answer(syscall.EIO)
	case "enospc-after":
		t.atExit = answer(syscall.ENOSPC)
	case "short":
		return short(tid, t, name, regs)
	case "kill":
		// The kernel looks for fatal signals before it makes the call.
		return syscall.Kill(f.root, syscall.SIGKILL)
	case "kill-after":
		t.atExit = func(*syscall.PtraceRegs) (bool, error) {
			return false, syscall.Kill(f.root, syscall.SIGKILL)
		}
	default:
		return fmt.Errorf("no such fault: %q", f.fault)
	}
	return nil
}

// instead answers with an error and makes no call. A file is closed all the same: Linux has closed
// it whatever close(2) says.
func (f *faults) instead(
	tid int, t *thread, regs *syscall.PtraceRegs, name string, errno syscall.Errno,
) error {
	t.atExit = answer(errno)
	if name == "close" {
		return nil
	}
	regs.Orig_rax = ^uint64(0)
	return syscall.PtraceSetRegs(tid, regs)
}

func answer(errno syscall.Errno) func(*syscall.PtraceRegs) (bool, error) {
	return func(regs *syscall.PtraceRegs) (bool, error) {
		regs.Rax = -uint64(errno)
		return true, nil
	}
}

// short lets the call move half of its bytes.
func short(tid int, t *thread, name string, regs *syscall.PtraceRegs) error {
	switch name {
	case "read", "write", "pread64", "pwrite64":
		regs.Rdx = (regs.Rdx + 1) / 2
		return syscall.PtraceSetRegs(tid, regs)
	case "readv", "writev", "preadv", "pwritev":
		// Half of the first part alone; the program finds its list of parts unchanged.
		var length [8]byte
		at := uintptr(regs.Rsi) + 8
		if _, err := syscall.PtracePeekData(tid, at, length[:]); err != nil {
			return err
		}
		var half [8]byte
		binary.LittleEndian.PutUint64(half[:], (binary.LittleEndian.Uint64(length[:])+1)/2)
		if _, err := syscall.PtracePokeData(tid, at, half[:]); err != nil {
			return err
		}
		regs.Rdx = 1
		t.atExit = func(*syscall.PtraceRegs) (bool, error) {
			_, err := syscall.PtracePokeData(tid, at, length[:])
			return false, err
		}
		return syscall.PtraceSetRegs(tid, regs)
	}
	return fmt.Errorf("%s moves no bytes", name)
}
