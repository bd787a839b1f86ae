# Terraform drops a key that an object type does not know, without a word. A key that was given and is gone is such a one.
locals {
  # Each level: the keys of what was given, beside the keys that are known there; a map's keys are free, and its elements are alike. Nothing in
  # the tree lies deeper than five.
  level1 = flatten([
    for file, given in var.given : [for k, v in given : { file = file, path = k, name = k, known = keys(var.declared), given = v, declared = try(var.declared[k], null) }]
  ])
  level2 = flatten([
    for e in local.level1 : [for k, v in e.given : { file = e.file, path = "${e.path}.${k}", name = k, known = contains(var.maps, e.path) ? keys(e.given) : keys(e.declared), given = v, declared = try(e.declared[k], contains(var.maps, e.path) ? values(e.declared)[0] : null, null) }]
    if can(keys(e.given)) && can(keys(e.declared))
  ])
  level3 = flatten([
    for e in local.level2 : [for k, v in e.given : { file = e.file, path = "${e.path}.${k}", name = k, known = contains(var.maps, e.path) ? keys(e.given) : keys(e.declared), given = v, declared = try(e.declared[k], contains(var.maps, e.path) ? values(e.declared)[0] : null, null) }]
    if can(keys(e.given)) && can(keys(e.declared))
  ])
  level4 = flatten([
    for e in local.level3 : [for k, v in e.given : { file = e.file, path = "${e.path}.${k}", name = k, known = contains(var.maps, e.path) ? keys(e.given) : keys(e.declared), given = v, declared = try(e.declared[k], contains(var.maps, e.path) ? values(e.declared)[0] : null, null) }]
    if can(keys(e.given)) && can(keys(e.declared))
  ])
  level5 = flatten([
    for e in local.level4 : [for k, v in e.given : { file = e.file, path = "${e.path}.${k}", name = k, known = contains(var.maps, e.path) ? keys(e.given) : keys(e.declared), given = v, declared = try(e.declared[k], contains(var.maps, e.path) ? values(e.declared)[0] : null, null) }]
    if can(keys(e.given)) && can(keys(e.declared))
  ])
}

locals {
  unknown = [for e in concat(local.level1, local.level2, local.level3, local.level4, local.level5) : e if !contains(e.known, e.name)]

  # Pairs of letters, by which a typo is told from another word: half of them in common.
  pairs = { for word in distinct(flatten([for e in local.unknown : concat([e.name], e.known)])) : word => distinct([for i in range(length(word) - 1) : substr(word, i, 2)]) }

  errors = [
    for e in local.unknown : join(" ", [
      "Invalid setting '${e.path}' in ${e.file}: no variable declares it, so it would do nothing.",
      try(
        "Did you mean '${[for word in e.known : word if 4 * length(setintersection(local.pairs[word], local.pairs[e.name])) >= length(local.pairs[word]) + length(local.pairs[e.name])][0]}'?",
        "Expected one of: ${join(", ", e.known)}.",
      ),
    ])
  ]
}
