"""What surrounds the project's processes: settings of Prefect, variables, the checkout, the store's identity."""
