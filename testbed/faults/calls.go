package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// Where a call has its file: in a path, relative to an open directory or not, or as an open file.
type place struct {
	name string
	// Argument with the path, or -1.
	path int
	// Argument with the open file, or with the directory that the path is relative to, or -1.
	file int
}

const (
	sysStatx     = 332
	sysRenameat2 = 316
	atFdcwd      = -100
	pathBytesMax = 4096
)

// The calls by which a program reads and changes files. What maps memory or waits is not among them.
var places = map[uint64]place{
	syscall.SYS_READ:       {"read", -1, 0},
	syscall.SYS_WRITE:      {"write", -1, 0},
	syscall.SYS_READV:      {"readv", -1, 0},
	syscall.SYS_WRITEV:     {"writev", -1, 0},
	syscall.SYS_PREAD64:    {"pread64", -1, 0},
	syscall.SYS_PWRITE64:   {"pwrite64", -1, 0},
	syscall.SYS_PREADV:     {"preadv", -1, 0},
	syscall.SYS_PWRITEV:    {"pwritev", -1, 0},
	syscall.SYS_FSYNC:      {"fsync", -1, 0},
	syscall.SYS_FDATASYNC:  {"fdatasync", -1, 0},
	syscall.SYS_CLOSE:      {"close", -1, 0},
	syscall.SYS_GETDENTS64: {"getdents64", -1, 0},
	syscall.SYS_FSTAT:      {"fstat", -1, 0},
	syscall.SYS_FLOCK:      {"flock", -1, 0},
	syscall.SYS_LSEEK:      {"lseek", -1, 0},
	syscall.SYS_FTRUNCATE:  {"ftruncate", -1, 0},
	syscall.SYS_FALLOCATE:  {"fallocate", -1, 0},
	syscall.SYS_FCHMOD:     {"fchmod", -1, 0},
	syscall.SYS_OPEN:       {"open", 0, -1},
	syscall.SYS_STAT:       {"stat", 0, -1},
	syscall.SYS_LSTAT:      {"lstat", 0, -1},
	syscall.SYS_ACCESS:     {"access", 0, -1},
	syscall.SYS_MKDIR:      {"mkdir", 0, -1},
	syscall.SYS_RMDIR:      {"rmdir", 0, -1},
	syscall.SYS_UNLINK:     {"unlink", 0, -1},
	syscall.SYS_CHMOD:      {"chmod", 0, -1},
	syscall.SYS_TRUNCATE:   {"truncate", 0, -1},
	syscall.SYS_LINK:       {"link", 1, -1},
	syscall.SYS_RENAME:     {"rename", 1, -1},
	syscall.SYS_OPENAT:     {"openat", 1, 0},
	syscall.SYS_NEWFSTATAT: {"newfstatat", 1, 0},
	syscall.SYS_FACCESSAT:  {"faccessat", 1, 0},
	syscall.SYS_MKDIRAT:    {"mkdirat", 1, 0},
	syscall.SYS_UNLINKAT:   {"unlinkat", 1, 0},
	syscall.SYS_FCHMODAT:   {"fchmodat", 1, 0},
	syscall.SYS_LINKAT:     {"linkat", 3, 2},
	syscall.SYS_RENAMEAT:   {"renameat", 3, 2},
	sysRenameat2:           {"renameat2", 3, 2},
	sysStatx:               {"statx", 1, 0},
}

type marker int

const (
	markerNone marker = iota
	markerBegin
	markerEnd
)

type watch struct {
	dir, begin, end string
}

// look says which call the thread is about to make and on which file, if the file is below the
// directory; and whether it is a marker.
func (w *watch) look(tid int, regs *syscall.PtraceRegs) (name, file string, found marker) {
	place, known := places[regs.Orig_rax]
	if !known {
		return "", "", markerNone
	}
	args := [...]uint64{regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9}
	var path string
	if place.path >= 0 {
		path = text(tid, args[place.path])
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(opened(tid, place, args[:]), path)
	}
	path = filepath.Clean(path)
	switch path {
	case w.begin:
		return "", "", markerBegin
	case w.end:
		return "", "", markerEnd
	case w.dir:
		return place.name, ".", markerNone
	}
	rest, below := strings.CutPrefix(path, w.dir+"/")
	if !below {
		return "", "", markerNone
	}
	return place.name, normal(rest), markerNone
}

// opened is the path of the open file or directory among the arguments.
func opened(tid int, place place, args []uint64) string {
	link := "cwd"
	if place.file >= 0 && int32(args[place.file]) != atFdcwd {
		link = fmt.Sprintf("fd/%d", int32(args[place.file]))
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", tid, link))
	if err != nil {
		return ""
	}
	return path
}

var (
	unnamed = regexp.MustCompile(`#[0-9]+ \(deleted\)$`)
	chance  = regexp.MustCompile(`(^|/)[0-9a-f]{16}( \(deleted\))?$`)
)

// normal takes out of a file's name what differs from run to run.
func normal(file string) string {
	file = unnamed.ReplaceAllString(file, "#")
	return chance.ReplaceAllString(file, "$1*")
}

// text reads a string out of the program's memory.
func text(tid int, at uint64) string {
	var all []byte
	var word [64]byte
	for len(all) < pathBytesMax {
		// Not over the end of a page, after which there may be none.
		n := min(64, 4096-int(at%4096))
		read, err := syscall.PtracePeekData(tid, uintptr(at), word[:n])
		if err != nil || read == 0 {
			return string(all)
		}
		if end := bytes.IndexByte(word[:read], 0); end >= 0 {
			return string(append(all, word[:end]...))
		}
		all = append(all, word[:read]...)
		at += uint64(read)
	}
	return string(all)
}
