package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// replication checks what a scenario of that kind has beside its steps. What the writer passes on is known to them.
func (v *validator) replication(known, ids map[string]bool) {
	s, r := v.scenario, v.scenario.Replication
	if (s.Kind == scenario.KindReplication) != (r != nil) {
		v.add(fmt.Sprintf("kind %q and replication: %t", s.Kind, r != nil), "both kind replication and the replication section, or neither", "kind")
	}
	if r == nil {
		return
	}
	if !slices.Contains(s.Regions, scenario.AllRegions) && (!slices.Contains(s.Regions, r.From) || len(s.Regions) < 2) {
		v.add(strconv.Quote(r.From), "one of the scenario's regions, which must be two or more", "replication", "from")
	} else {
		v.oneOf(r.From, v.fleet.Regions, "replication", "from")
	}
	if s.NeedsBrowser() {
		v.add("a step that needs a browser", "none: a look must not take longer than what it looks for", "steps")
	}
	if always := count(marked(r.Write)...); always == len(r.Write) || len(r.Write) > maxSteps {
		v.add(fmt.Sprintf("%d steps, %d of them marked always", len(r.Write), always), fmt.Sprintf("1 to %d, and at least one that writes: those marked always clean up", maxSteps), "replication", "write")
	}
	writers := map[string]bool{}
	for name := range known {
		writers[name] = true
	}
	for i := range r.Write {
		path := []string{"replication", "write", strconv.Itoa(i)}
		check := &stepValidator{validator: v, step: &r.Write[i], path: path, known: writers, ids: ids}
		check.run()
		if r.Write[i].Type.Browser() {
			v.add(strconv.Quote(string(r.Write[i].Type)), "a step without a browser", append(path, "type")...)
		}
	}
	for i, name := range r.Pass {
		if known[name] || !writers[name] {
			v.add(strconv.Quote(name), "a variable that a write step extracts", "replication", "pass", strconv.Itoa(i))
		}
		known[name] = true
	}
	if r.VisibleWithin <= 0 || r.VisibleWithin.D()+r.WatchTime() >= s.Timeout.D() {
		v.add(r.VisibleWithin.String(), "a time above zero that leaves, with watch, something of the scenario's timeout", "replication", "visibleWithin")
	}
	if r.Watch < 0 || r.Every != 0 && r.Every.D() < minLook {
		v.add(fmt.Sprintf("every %s, watch %s", r.Every, r.Watch), fmt.Sprintf("every from %s, and no watch below zero", scenario.Duration(minLook)), "replication")
	}
}

// minLook is the least time between two looks: more often, they would be what slows the replica down.
const minLook = 10 * time.Millisecond

// marked tells which steps are marked always.
func marked(steps []scenario.Step) []bool {
	out := make([]bool, len(steps))
	for i := range steps {
		out[i] = steps[i].Always
	}
	return out
}

// identities checks those of a cache-leak scenario.
func (v *validator) identities(known map[string]bool) {
	s := v.scenario
	if leak := s.Kind == scenario.KindCacheLeak; leak && len(s.Identities) != 2 || !leak && len(s.Identities) > 0 {
		v.add(fmt.Sprintf("kind %q and %d identities", s.Kind, len(s.Identities)), "kind cache-leak with two identities, or neither", "kind")
	}
	other := slices.IndexFunc(s.Steps, func(st scenario.Step) bool { return st.Type != scenario.StepHTTP })
	if s.Kind == scenario.KindCacheLeak && other >= 0 {
		v.add(fmt.Sprintf("a step of type %q", s.Steps[other].Type), "http steps only: every byte of an answer is looked at", "steps")
	}
	for i, identity := range s.Identities {
		path := []string{"identities", strconv.Itoa(i)}
		if !scenario.ValidName(identity.Name) || i > 0 && identity.Name == s.Identities[0].Name {
			v.add(strconv.Quote(identity.Name), wantLabel+", and another one for each", append(path, "name")...)
		}
		for _, name := range sortedKeys(identity.Vars) {
			at := append(slices.Clone(path), "vars", name)
			if !identifier.MatchString(name) {
				v.add(strconv.Quote(name), "a name of letters, digits and _", at...)
			}
			for _, secret := range v.secretsIn(identity.Vars[name], at) {
				v.used[secret], v.private["vars."+name] = true, true
			}
			for _, other := range s.Identities {
				if _, has := other.Vars[name]; !has && !known["vars."+name] {
					v.add(strconv.Quote(name)+" for one identity only", "a value for the other too, or one in vars", at...)
				}
			}
		}
	}
	for _, identity := range s.Identities {
		for name := range identity.Vars {
			known["vars."+name] = true
		}
	}
}

// secretsIn lists the secrets in a text that may refer to nothing else.
func (v *validator) secretsIn(text string, path []string) (secrets []string) {
	references, err := vars.References(text)
	if err != nil {
		v.add(strconv.Quote(text), "a text with ${secrets.NAME} in it, or none", path...)
	}
	for _, name := range references {
		secret, is := strings.CutPrefix(name, "secrets.")
		if !is || !slices.Contains(v.scenario.Secrets, secret) {
			v.add("${"+name+"}", "a secret that the scenario lists", path...)
			continue
		}
		secrets = append(secrets, secret)
	}
	return secrets
}

// canaries checks those of the identities, when it is known what the steps extract.
func (v *validator) canaries(known map[string]bool) {
	for i, identity := range v.scenario.Identities {
		path := []string{"identities", strconv.Itoa(i), "canary"}
		references, err := vars.References(identity.Canary)
		if err != nil || len(references) == 0 {
			v.add(strconv.Quote(identity.Canary), "a secret, or a variable that the steps extract: ${canary}", path...)
		}
		for _, name := range references {
			if !known[name] {
				v.add("${"+name+"}", "what secrets or a step's extract defines", path...)
			}
			if secret, is := strings.CutPrefix(name, "secrets."); is {
				v.used[secret] = true
			}
		}
	}
}

// told lists the ids that results have of the scenario's steps: those of a cache-leak scenario stand behind the name of the identity.
func (v *validator) told() (ids []string) {
	prefixes := []string{""}
	if v.scenario.Kind == scenario.KindCacheLeak {
		prefixes = nil
		for _, identity := range v.scenario.Identities {
			prefixes = append(prefixes, identity.Name+"/")
		}
	}
	for _, prefix := range prefixes {
		for i := range v.scenario.Steps {
			ids = append(ids, prefix+v.scenario.Steps[i].ID)
		}
	}
	return ids
}

// behind says in a complaint what told does.
func (v *validator) behind() string {
	if v.scenario.Kind == scenario.KindCacheLeak && len(v.scenario.Identities) > 0 {
		return " behind an identity's name, such as " + v.scenario.Identities[0].Name + "/ID"
	}
	return ""
}
