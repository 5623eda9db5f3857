# What a prune plan must keep to before anybody may approve it, for conftest or OPA:
#
#   conftest test --policy docs/how-to/opa prune-plan.json
#
# A plan is plain JSON (mlflow-gc schema plan), so every rule of a house can be written like these.
# Copy this file and make the numbers and names yours.
package main

import rego.v1

most_irreversible := 20

production := `^(prod|production)([/_-]|$)`

# Reasons that a plan of a living server always has: where none of its old versions is kept for an
# alias, or no run for its registered model, the registry was probably not seen.
usual_reasons := {"alias", "registered_model"}

kinds := {"experiments", "runs", "model_versions", "registered_models"}

deny contains "The plan cannot be applied: see its diagnostics." if {
	not input.applyable
}

deny contains "The plan never expires: set expire_after in the policy." if {
	input.expires_at == null
}

deny contains msg if {
	input.summary.irreversible > most_irreversible
	msg := sprintf(
		"%d deletions cannot be undone; %d are allowed.",
		[input.summary.irreversible, most_irreversible],
	)
}

# Said once for each experiment, however many of its runs would go.
deny contains msg if {
	some name in touched
	regex.match(production, lower(name))
	# As JSON: a name may hold anything, also what a terminal or a CI log would act on.
	msg := concat(" ", ["Something of the production experiment", json.marshal(name), "would go."])
}

touched contains entity.name if {
	some entity in input.experiments
}

touched contains entity.experiment_name if {
	some entity in input.runs
}

warn contains msg if {
	input.summary.model_versions.stale > 0
	missing := usual_reasons - reasons
	count(missing) > 0
	msg := concat(" ", ["Nothing is kept for:", concat(", ", sort(missing))])
}

reasons contains entity.reason if {
	some kind in kinds
	some entity in input.protected[kind]
}

warn contains "The plan was made with a partial view of the server." if {
	not input.complete
}
