# Tests of prune_plan.rego:
#
#   conftest verify --policy docs/how-to/opa
package main

import rego.v1

plan := {
	"applyable": true,
	"complete": true,
	"expires_at": "2026-05-08T10:02:11.123Z",
	"summary": {"irreversible": 20, "model_versions": {"stale": 3}},
	"experiments": [{"name": "sandbox/ann"}],
	"runs": [{"experiment_name": "preprod-tests"}],
	"model_versions": [],
	"registered_models": [],
	"protected": {
		"experiments": [],
		"runs": [{"reason": "registered_model"}],
		"model_versions": [{"reason": "alias"}],
		"registered_models": [],
	},
}

test_a_plan_that_satisfies_all_rules if {
	count(deny) == 0 with input as plan
	count(warn) == 0 with input as plan
}

test_a_plan_that_cannot_be_applied if {
	count(deny) == 1 with input as object.union(plan, {"applyable": false})
}

test_a_plan_that_never_expires if {
	count(deny) == 1 with input as object.union(plan, {"expires_at": null})
}

test_too_much_that_cannot_be_undone if {
	summary := {"irreversible": 21, "model_versions": {"stale": 3}}
	changed := object.union(plan, {"summary": summary})
	deny == {"21 deletions cannot be undone; 20 are allowed."} with input as changed
}

test_production_experiments if {
	changed := object.union(plan, {"experiments": [{"name": "Prod/fraud"}, {"name": "prod"}]})
	count(deny) == 2 with input as changed
}

test_runs_of_production_experiments_are_named_once if {
	runs := [{"experiment_name": "prod/x"}, {"experiment_name": "prod/x"}]
	count(deny) == 1 with input as object.union(plan, {"runs": runs})
}

test_a_registry_that_was_not_read if {
	protected := {"experiments": [], "runs": [], "model_versions": [], "registered_models": []}
	changed := object.union(plan, {"protected": protected})
	warn == {"Nothing is protected by: alias, registered_model"} with input as changed
}

test_a_partial_view if {
	count(warn) == 1 with input as object.union(plan, {"complete": false})
}
