package picture

import (
	"log/slog"
	"slices"
	"strings"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// Camera knows what is to be taken of a run, and what must not show.
type Camera struct {
	Film *Film // nil = none is wanted

	hidden [][]string // chains of selectors, not yet expanded, of what no picture may show
	step   *scenario.Step
}

// NewCamera reads from the scenario what no picture may show: what it says, and every field that a step fills with a secret.
func NewCamera(log *slog.Logger, a *runs.Assignment) *Camera {
	c := &Camera{step: &scenario.Step{}}
	for _, selector := range a.Scenario.Artefacts.Mask {
		c.hidden = append(c.hidden, []string{selector})
	}
	for i := range a.Scenario.Steps {
		if step := &a.Scenario.Steps[i]; Secretive(step) {
			for _, chain := range step.Selectors {
				c.hidden = append(c.hidden, slices.Clone(chain))
			}
		}
	}
	if a.Keeps(runs.ArtefactFilmstrip, false) || a.Keeps(runs.ArtefactFilmstrip, true) {
		c.Film = NewFilm(log)
	}
	return c
}

// Secretive reports whether a step types a secret.
func Secretive(step *scenario.Step) bool { return step.Value != nil && vars.Secretive(*step.Value) }

// Begin notes the step that begins.
func (c *Camera) Begin(step *scenario.Step) {
	c.step = step
	if c.Film != nil {
		c.Film.Begin(step.ID)
	}
}

// Step returns the step under way, or the last one.
func (c *Camera) Step() *scenario.Step { return c.step }

// Mask is what no picture may show, for a single picture after a step or for a film, which is recorded while secrets are typed. A selector
// with a variable that has no value yet matches nothing yet.
func (c *Camera) Mask(scope *vars.Scope, film bool) *Mask {
	m := &Mask{Secrets: scope.Secrets(), Beginnings: film || Secretive(c.step)}
	for _, chain := range c.hidden {
		var parts []Part
		for _, selector := range chain {
			text, err := scope.Expand(selector)
			if err != nil || strings.TrimSpace(text) == "" {
				parts = nil
				break
			}
			parts = append(parts, Parse(text))
		}
		if parts != nil {
			m.Selectors = append(m.Selectors, parts)
		}
	}
	return m
}
