# Rules that a prune plan must satisfy before it may be approved, for conftest or OPA:
#
#   conftest test --policy docs/how-to/opa prune-plan.json
#
# A plan is plain JSON (mlflow-gc schema plan), so other rules can be written in the same way.
# Copy this file and change the numbers and names.
package main

import rego.v1

max_irreversible := 20

production := `^(prod|production)([/_-]|$)`

# Reasons that the plan of a server in use always contains. If no stale version is protected by an
# alias, or no run by a registered model, the registry was probably not read.
expected_reasons := {"alias", "registered_model"}

kinds := {"experiments", "runs", "model_versions", "registered_models"}

deny contains "The plan cannot be applied: see its diagnostics." if {
	not input.applyable
}

deny contains "The plan never expires: set expire_after in the policy." if {
	input.expires_at == null
}

deny contains msg if {
	input.summary.irreversible > max_irreversible
	msg := sprintf(
		"%d deletions cannot be undone; %d are allowed.",
		[input.summary.irreversible, max_irreversible],
	)
}

# One message for each experiment, however many of its runs the plan deletes.
deny contains msg if {
	some name in affected
	regex.match(production, lower(name))
	# As JSON: a name may contain control characters, or commands for a CI log.
	msg := concat(" ", ["The plan deletes the production experiment", json.marshal(name), "or runs in it."])
}

affected contains entity.name if {
	some entity in input.experiments
}

affected contains entity.experiment_name if {
	some entity in input.runs
}

warn contains msg if {
	input.summary.model_versions.stale > 0
	missing := expected_reasons - reasons
	count(missing) > 0
	msg := concat(" ", ["Nothing is protected by:", concat(", ", sort(missing))])
}

reasons contains entity.reason if {
	some kind in kinds
	some entity in input.protected[kind]
}

warn contains "The plan was made with a partial view of the server." if {
	not input.complete
}
