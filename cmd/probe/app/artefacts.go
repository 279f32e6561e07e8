package app

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"lastmile/internal/artefact"
	"lastmile/internal/exposition"
	"lastmile/internal/scenario"
)

// ArtefactLimits holds the flags that bound what is kept of runs.
type ArtefactLimits struct {
	ArtefactsDir  string         `help:"Directory for artefacts, by scenario and run; where empty, one below --data, or of probe run, in the user's cache." type:"path"`
	ArtefactsMax  scenario.Bytes `help:"Bytes that all artefacts may take, at the hub those of the region: the oldest make room." default:"1GB"`
	ArtefactsKeep time.Duration  `help:"How long an artefact is kept." default:"168h"`
}

// check reports the limits that cannot be used.
func (l ArtefactLimits) check() error {
	var errs []error
	if l.ArtefactsMax < 0 {
		errs = append(errs, fmt.Errorf("--artefacts-max: got %d bytes, want 0 or more", l.ArtefactsMax))
	}
	if l.ArtefactsKeep < 0 {
		errs = append(errs, fmt.Errorf("--artefacts-keep: got %s, want 0s or more", l.ArtefactsKeep))
	}
	return errors.Join(errs...)
}

// place opens the place for artefacts; dir is the directory where no flag names one.
func (l ArtefactLimits) place(log *slog.Logger, kind, dir string) (*artefact.Place, error) {
	if l.ArtefactsDir != "" {
		dir = l.ArtefactsDir
	}
	return artefact.OpenPlace(log, kind, artefact.Options{Dir: dir, Bytes: int64(l.ArtefactsMax), Age: l.ArtefactsKeep})
}

// place opens the place for the artefacts of the command's run. Where nobody has named one and there is none to be had, the run goes
// without.
func (c *runCommand) place(log *slog.Logger) (*artefact.Place, error) {
	cache, err := os.UserCacheDir()
	if err == nil || c.ArtefactsDir != "" {
		var place *artefact.Place
		place, err = c.ArtefactLimits.place(log, c.Artefacts, filepath.Join(cache, "lastmile", "artefacts"))
		if err == nil || c.ArtefactsDir != "" {
			return place, err
		}
	}
	log.Warn("artefacts are not kept; --artefacts-dir names a directory for them", "err", err)
	c.Artefacts = artefact.Nowhere
	return c.ArtefactLimits.place(log, c.Artefacts, "")
}

// artefactStats puts a place's state into a probe's.
func artefactStats(out *exposition.ProbeStats, s artefact.Stats) {
	out.ArtefactBytes, out.ArtefactFiles, out.ArtefactErrors = s.Bytes, s.Files, s.Errors
	out.ArtefactsDropped, out.ArtefactsExpired, out.SpoolShed = s.Dropped, s.Expired, s.Shed
}
