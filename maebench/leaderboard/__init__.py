"""Result files -> tables, pages, figures. Never imports torch."""
