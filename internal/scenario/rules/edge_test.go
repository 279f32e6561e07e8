package rules

import (
	"testing"

	"lastmile/internal/scenario"
)

// TestValidateEdge is about objectives and routing that no answer could ever fit.
func TestValidateEdge(t *testing.T) {
	objective := func(change func(*scenario.SLO)) func(*scenario.Scenario) {
		return func(s *scenario.Scenario) {
			o := s.SLOs[0]
			o.Name, o.SLI, o.Match = "images", scenario.SLICacheHit, "*/img/*"
			change(&o)
			s.SLOs = []scenario.SLO{o}
		}
	}
	checkAll(t, sound, []change{
		{"class", objective(func(*scenario.SLO) {}), nil},
		{"class by its query", objective(func(o *scenario.SLO) { o.Match = "*/img/*?v=*" }), []string{"slos.0.match"}},
		{"class named other", objective(func(o *scenario.SLO) { o.Name = "other" }), []string{"slos.0.name"}},
		{"routing of some", func(s *scenario.Scenario) { s.Routing.Match = "*/api/*" }, nil},
		{"routing by a query", func(s *scenario.Scenario) { s.Routing.Match = "*/api/*?x" }, []string{"routing.match"}},
	})
}
