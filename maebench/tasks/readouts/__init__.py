"""How features become guesses: ridge and logistic regression, and maps."""
