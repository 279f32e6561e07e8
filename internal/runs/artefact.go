package runs

import (
	"cmp"
	"time"

	"lastmile/internal/scenario"
)

// ArtefactKind says what an artefact is.
type ArtefactKind string

// The kinds. A filmstrip is a list of small pictures with their times.
const (
	ArtefactScreenshot ArtefactKind = "screenshot" // JPEG
	ArtefactHAR        ArtefactKind = "har"        // HAR 1.2, JSON
	ArtefactFilmstrip  ArtefactKind = "filmstrip"  // JSON: [{at_ms, jpeg in base64}]
)

// The stores of artefacts.
const (
	StoreDir = "dir" // a directory of the probe's
	StoreHub = "hub" // the hub's object store
)

// Artefact is a file that was kept of a run. The file is named by the run and Name; where it is depends on the probe.
type Artefact struct {
	Kind        ArtefactKind `json:"kind"`
	Step        string       `json:"step,omitempty"`
	Name        string       `json:"name"` // such as pay.screenshot.jpg: unique in the run, a plain file name
	ContentType string       `json:"content_type"`
	Bytes       int64        `json:"bytes"`
	SHA256      string       `json:"sha256"`
	Store       string       `json:"store"`               // StoreDir or StoreHub
	Location    string       `json:"location,omitempty"`  // dir: the path on the probe
	ExpiresAt   time.Time    `json:"expires_at,omitzero"` // when it will be gone
	Truncated   bool         `json:"truncated,omitempty"` // it was larger than a run may keep
}

// File is an artefact on its way to where it is kept. What it shows is redacted.
type File struct {
	Kind        ArtefactKind
	Step        string
	Name        string
	ContentType string
	Data        []byte
	Truncated   bool
}

// Keeps reports whether an artefact of a kind is kept of the run, or of the step, that went badly or not.
func (a *Assignment) Keeps(kind ArtefactKind, bad bool) bool {
	var when scenario.When
	switch kind {
	case ArtefactScreenshot:
		when = cmp.Or(a.Scenario.Artefacts.Screenshot, scenario.WhenFailed)
	case ArtefactHAR:
		when = cmp.Or(a.Scenario.Artefacts.HAR, scenario.WhenFailed)
	case ArtefactFilmstrip:
		when = cmp.Or(a.Scenario.Artefacts.Filmstrip, scenario.WhenConfirming)
	}
	return when == scenario.WhenAlways || when == scenario.WhenFailed && bad || when == scenario.WhenConfirming && a.Trigger == TriggerConfirm
}
