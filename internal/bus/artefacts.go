package bus

import (
	"context"
	"fmt"

	"lastmile/internal/bus/archive"
	"lastmile/internal/bus/audit"
	"lastmile/internal/bus/objects"
	"lastmile/internal/runs"
)

// Artefacts is where the artefacts of a region's runs are kept at the hub.
func (b *Bus) Artefacts(region string) *objects.Bucket { return objects.New(b.js, region) }

// Audit returns the trail of what people changed.
func (b *Bus) Audit() *audit.Trail { return audit.New(b.js, fault) }

// Results finds the results of a run among those that are stored: none, one, or one for each time that it was executed.
func (b *Bus) Results(ctx context.Context, id runs.ID) ([]runs.Result, error) {
	what := "find results of " + string(id)
	c, _, err := id.Parse()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	found, err := archive.Find(ctx, b.js, resultsStream(c.Region), id)
	if err != nil {
		return nil, fault(what, err)
	}
	return found, nil
}
