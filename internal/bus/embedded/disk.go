package embedded

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// How the disk is tried.
const (
	trials     = 5
	trialTime  = 500 * time.Millisecond // after which no further one is begun
	trialBytes = 512
	slowSync   = 5 * time.Millisecond // what a poor SSD takes; disks that turn take longer
	perRun     = 2                    // messages that a run stores: its job and its result
)

// syncTime returns the median of a few small writes to the folder, each with its fsync.
func syncTime(dir string) (took time.Duration, err error) {
	f, err := os.Create(filepath.Join(dir, "sync-trial"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	var all []time.Duration
	for began := time.Now(); len(all) < trials && time.Since(began) < trialTime; {
		one := time.Now()
		if _, err := f.Write(make([]byte, trialBytes)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		all = append(all, time.Since(one))
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}

// warnSlow says so where the disk bounds what the bus can carry.
func warnSlow(log *slog.Logger, dir string, took time.Duration) {
	if took < slowSync {
		log.Debug("disk of the bus", "folder", dir, "sync", took)
		return
	}
	perSecond := time.Second / took
	log.Warn("disk is slow: each message is synced before it is acknowledged; put the folder on an SSD with power-loss protection, or use a NATS cluster (--nats)",
		"folder", dir, "sync", took, "messages_per_second", int64(perSecond), "runs_per_minute", int64(perSecond*60/perRun))
}
