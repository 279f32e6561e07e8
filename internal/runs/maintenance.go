package runs

import (
	"fmt"
	"slices"
	"time"

	"lastmile/internal/scenario"
)

// MaxMaintenance bounds the windows that are kept at a time.
const MaxMaintenance = 1000

// Maintenance is a stretch of time in which slots are skipped on purpose. Each slot in it is in the books, as skipped.
type Maintenance struct {
	ID       string    `json:"id"`
	Scenario string    `json:"scenario,omitempty"` // "" = all
	Region   string    `json:"region,omitempty"`   // "" = all
	From     time.Time `json:"from"`
	To       time.Time `json:"to"` // exclusive
	Why      string    `json:"why"`
	By       string    `json:"by"`
	MadeAt   time.Time `json:"made_at"`
}

// Covers reports whether a slot of a combination is skipped for it.
func (m *Maintenance) Covers(c scenario.Combination, slot time.Time) bool {
	return (m.Scenario == "" || m.Scenario == c.Scenario) && (m.Region == "" || m.Region == c.Region) && !slot.Before(m.From) && slot.Before(m.To)
}

// Check reports what makes a window unusable.
func (m *Maintenance) Check() error {
	switch {
	case !scenario.ValidName(m.ID):
		return fmt.Errorf("check maintenance: got id %.100q, want a label", m.ID)
	case m.Scenario != "" && !scenario.ValidName(m.Scenario):
		return fmt.Errorf("check maintenance %s: got scenario %.100q, want a label, or none for all", m.ID, m.Scenario)
	case m.Region != "" && !scenario.ValidName(m.Region):
		return fmt.Errorf("check maintenance %s: got region %.100q, want a label, or none for all", m.ID, m.Region)
	case !m.To.After(m.From):
		return fmt.Errorf("check maintenance %s: got from %s to %s, want an end after the beginning", m.ID, m.From, m.To)
	}
	return nil
}

// UnderMaintenance reports whether any of the windows covers a slot.
func UnderMaintenance(windows []Maintenance, c scenario.Combination, slot time.Time) bool {
	return slices.ContainsFunc(windows, func(m Maintenance) bool { return m.Covers(c, slot) })
}
