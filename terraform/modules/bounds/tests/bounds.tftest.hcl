variables { document = "edge.yml" }

run "takes_both_ends" {
  command = plan

  variables {
    numbers = [
      { key = "a", value = 1, min = 1, max = 3, product = "p" },
      { key = "b", value = 3, min = 1, max = 3, product = "p" },
      { key = "c", value = 0.5, min = 0, max = 1, product = "p", whole = false },
    ]
  }

  assert {
    condition     = length(output.numbers) == 3
    error_message = "Bounds are inclusive."
  }
}

run "refuses_a_number_below" {
  command         = plan
  expect_failures = [var.numbers]
  variables { numbers = [{ key = "a", value = 0, min = 1, max = 3, product = "p" }] }
}

run "refuses_a_number_above" {
  command         = plan
  expect_failures = [var.numbers]
  variables { numbers = [{ key = "a", value = 4, min = 1, max = 3, product = "p" }] }
}

run "refuses_a_fraction_where_the_api_takes_integers" {
  command         = plan
  expect_failures = [var.numbers]
  variables { numbers = [{ key = "a", value = 1.5, min = 1, max = 3, product = "p" }] }
}
