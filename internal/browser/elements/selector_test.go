package elements

import (
	"slices"
	"testing"

	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

func TestParse(t *testing.T) {
	css := func(text string, via via) part { return part{Kind: "css", Text: text, Via: via} }
	text := func(text string, via via) part { return part{Kind: "text", Text: text, Via: via} }
	for selector, want := range map[string][][]part{
		"#a > b":                          {{css("#a > b", "")}},
		"css/#a":                          {{css("#a", "")}},
		"text/Buy /now":                   {{text("Buy /now", "")}},
		"xpath///*[@id='x']":              {{{Kind: "xpath", Text: "//*[@id='x']"}}},
		"pierce/.x":                       {{css(".x", viaDeep)}},
		"aria/Sign  in":                   {{{Kind: "aria", Text: "Sign in"}}},
		`aria/Sign in[role="button"]`:     {{{Kind: "aria", Text: "Sign in", role: "button"}}},
		`aria/[role='button']`:            {{{Kind: "aria", role: "button"}}},
		`aria/[name="A b"][role="link"]`:  {{{Kind: "aria", Text: "A b", role: "link"}}},
		`aria/List [1] [colour="red"] it`: {{{Kind: "aria", Text: `List [1] [colour="red"] it`}}},

		"a, b":                             {{css("a, b", "")}},
		"app >>>> .x":                      {{css("app", ""), css(".x", "")}},
		"app >>> .x b":                     {{css("app", ""), css(".x b", viaDeep)}},
		":scope >>> .x":                    {{css(".x", viaDeep)}},
		">>> .x":                           {{css(".x", viaDeep)}},
		"::-p-text(Buy now)":               {{text("Buy now", "")}},
		`::-p-text(a \(b\) "c)d" e)`:       {{text(`a (b) "c)d" e`, "")}},
		`li::-p-text("it's, this").on > b`: {{css("li", ""), text("it's, this", viaSame), css(".on > b", viaSame)}},
		"::-p-text(x) b":                   {{text("x", ""), css(" b", viaSame)}},
		`::-p-aria(Save[role="button"])`:   {{{Kind: "aria", Text: "Save", role: "button"}}},
		"::-p-xpath(//a[1])":               {{{Kind: "xpath", Text: "//a[1]"}}},
		"a[x='>>>,'], ::-p-text(y)":        {{css("a[x='>>>,']", "")}, {text("y", "")}},
		"::-p-nothing(x)":                  {{css("::-p-nothing", "")}},
		"::-p-text(open":                   {{text("open", "")}},
	} {
		if got := parse(selector); !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s: got %+v, want %+v", selector, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{`a >>> b::-p-text("x\)"), c`, "::-p-aria(", ">>>>>>", "'", "\\", "aria/[name='", "a\\"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, way := range parse(text) {
			for _, p := range way {
				if !slices.Contains([]string{"css", "xpath", "text", "aria"}, p.Kind) {
					t.Errorf("%q: got kind %q", text, p.Kind)
				}
			}
		}
	})
}

func TestLookupOrder(t *testing.T) {
	scope := vars.NewScope(map[string]string{"vars.id": "x"}, nil)
	l, err := NewLookup(scenario.Selectors{{"aria/A"}, {"text/B"}, {"#c", "text/D"}, {"xpath///e"}, {"#${vars.id}"}, {"pierce/f"}}, scope)
	if err != nil {
		t.Fatal(err)
	}
	var order []int
	for _, a := range append(l.cheap, l.aria...) {
		order = append(order, a.Index)
	}
	if want := []int{4, 3, 5, 1, 2, 0}; !slices.Equal(order, want) {
		t.Errorf("order of the alternatives: got %v, want %v", order, want)
	}
	if want := "any of aria/A | text/B | #c >>> text/D | xpath///e | #x | pierce/f"; l.String() != want {
		t.Errorf("name: got %s, want %s", l, want)
	}
	if _, err := NewLookup(scenario.Selectors{{"${none}"}}, scope); err == nil {
		t.Error("unknown variable: got no error, want one")
	}
}
