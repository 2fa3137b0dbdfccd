package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// From <linux/fadvise.h>.
const adviseDontNeed = 4

type evictOutcome struct {
	Files int `json:"files"`
}

// evict has the system forget what its disk cache holds of the files below some directories. What a process has mapped stays.
func evict(wanted job) (*evictOutcome, error) {
	var outcome evictOutcome
	for _, directory := range wanted.Directories {
		err := filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			outcome.Files++
			return forget(path)
		})
		if err != nil {
			return nil, err
		}
	}
	return &outcome, nil
}

func forget(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	// What is not yet on the disk would stay.
	if err := file.Sync(); err != nil {
		return err
	}
	if _, _, errno := syscall.Syscall6(syscall.SYS_FADVISE64, file.Fd(), 0, 0, adviseDontNeed, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
