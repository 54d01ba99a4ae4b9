package main

import (
	"os"
	"syscall"
)

// onDisk is what a file takes of the disk: preallocated files are larger than what is in them.
func onDisk(info os.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512
	}
	return info.Size()
}
