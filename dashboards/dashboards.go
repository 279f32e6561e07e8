// Package dashboards carries the rules of this folder in a program, so that there is one text of them.
package dashboards

import _ "embed" // rules.yml

//go:embed rules.yml
var rules string

// Rules is the text of rules.yml: rule groups for Prometheus and vmalert.
func Rules() string { return rules }
