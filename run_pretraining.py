"""`bert-tf run_pretraining` under the release's name."""

import sys

from bert_tf.tools.run_pretraining import main

if __name__ == "__main__":
    sys.exit(main())
