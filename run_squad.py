"""`bert-tf run_squad` under the release's name."""

import sys

from bert_tf.tools.run_squad import main

if __name__ == "__main__":
    sys.exit(main())
